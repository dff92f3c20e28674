"""How the sandbox creators' worlds look and sound: landscapes, patterns and melodies, computed from fixed seeds."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Frame = np.ndarray  #: height × width × 3, floats from 0 to 1; of sound, samples from -1 to 1
Colour = tuple[int, int, int]

AUDIO_RATE = 44100
COVER_MARGIN = 0.12


@dataclass(frozen=True)
class Scenery:
    """How one creator's world looks and sounds."""

    seed: int
    sky: tuple[Colour, Colour]  #: zenith, horizon
    land: tuple[Colour, Colour]  #: farthest ridge, nearest ridge
    light: Colour
    accents: tuple[Colour, Colour, Colour, Colour]
    feature: str  #: curtains | water | trees
    root_hz: float


SCENERIES = {
    "aurora": Scenery(
        11, ((8, 10, 38), (46, 60, 112)), ((38, 56, 96), (8, 12, 28)), (226, 234, 255),
        ((64, 224, 178), (118, 92, 226), (26, 32, 84), (238, 240, 255)), "curtains", 220.0,
    ),
    "coral": Scenery(
        23, ((72, 62, 132), (255, 158, 98)), ((150, 84, 120), (44, 24, 62)), (255, 236, 190),
        ((255, 122, 89), (255, 201, 107), (64, 58, 124), (255, 244, 226)), "water", 261.63,
    ),
    "juniper": Scenery(
        37, ((132, 186, 206), (238, 240, 214)), ((150, 182, 170), (18, 52, 44)), (255, 252, 224),
        ((46, 125, 92), (190, 214, 120), (20, 62, 62), (246, 243, 222)), "trees", 196.0,
    ),
}  # fmt: skip


def mix(first: Frame, second: Frame, amount: Frame) -> Frame:
    return first + (second - first) * amount[..., None]


def rgb(colour: Colour) -> Frame:
    return np.array(colour) / 255


def landscape(scenery: Scenery, variation: int, width: int, height: int, phase: float = 0.0) -> Frame:
    """One picture of a creator's world; `phase` runs from 0 to 1 over a clip."""
    random = np.random.default_rng([scenery.seed, variation])
    x, y = np.meshgrid(np.linspace(0, width / height, width), np.linspace(0, 1, height))
    horizon = random.uniform(0.52, 0.66)
    picture = mix(rgb(scenery.sky[0]), rgb(scenery.sky[1]), np.clip(y / horizon, 0, 1) ** 1.4)
    if scenery.feature == "curtains":
        picture = _stars(picture, random)
        picture = _curtains(picture, scenery, random, x, y, phase)
    sun_x, sun_y = random.uniform(0.25, 0.75) * width / height, horizon - random.uniform(0.16, 0.36) + 0.05 * phase
    distance = np.hypot(x - sun_x, y - sun_y)
    picture = mix(picture, rgb(scenery.light), 0.55 * np.exp(-distance * 5))
    picture = mix(picture, rgb(scenery.light), np.clip((0.06 - distance) * height + 0.5, 0, 1))
    picture = _ridges(picture, scenery, random, x, y, horizon, phase)
    if scenery.feature == "water":
        picture = _water(picture, scenery, x, y, horizon + 0.16, sun_x, phase)
    return picture


def _stars(picture: Frame, random: np.random.Generator) -> Frame:
    height, width = picture.shape[:2]
    places = random.random((140, 3))
    for across, down, brightness in places:
        row, column = int(down * height * 0.6), int(across * (width - 2))
        size = max(1, height // 400)
        picture[row : row + size, column : column + size] += 0.25 + 0.55 * brightness
    return np.clip(picture, 0, 1)


def _curtains(picture: Frame, scenery: Scenery, random: np.random.Generator, x: Frame, y: Frame, phase: float) -> Frame:
    for colour, foot in zip(scenery.accents[:2], random.uniform(0.28, 0.46, 2), strict=True):
        offset, drift = random.uniform(0, 6, 2)
        turn = 2 * math.pi * phase
        curve = foot + 0.07 * np.sin(2.3 * x + offset + 0.6 * np.sin(turn)) + 0.03 * np.sin(6 * x + drift + turn)
        above = curve - y
        glow = np.where(above > 0, np.exp(-above * 6), np.exp(above * 45))
        folds = 0.72 + 0.28 * np.sin(26 * x + 5 * np.sin(3 * x + drift) + turn)
        picture = mix(picture, rgb(colour), 0.75 * glow * folds)
    return picture


def _ridges(
    picture: Frame, scenery: Scenery, random: np.random.Generator, x: Frame, y: Frame, horizon: float, phase: float
) -> Frame:
    height = picture.shape[0]
    layers = 3 if scenery.feature == "water" else 5
    for layer in range(layers):
        near = layer / (layers - 1)
        ahead = x[0] + near * 0.25 * phase
        line = horizon + (0.02 if scenery.feature == "water" else 0.3) * near + np.zeros_like(ahead)
        for octave in range(4):
            frequency, offset = random.uniform(1.2, 2.4) * 2**octave, random.uniform(0, 2 * math.pi)
            line -= 0.055 * 0.52**octave * np.sin(frequency * ahead + offset)
        if scenery.feature == "trees" and layer >= 2:
            line -= _trees(ahead, spacing=0.02 + 0.03 * near, tallest=0.05 + 0.10 * near, seed=layer)
        colour = rgb(scenery.land[0]) * (1 - near) + rgb(scenery.land[1]) * near
        haze = np.clip((y - line) * 1.6, 0, 0.35) * (1 - near)
        picture = mix(picture, mix(colour, rgb(scenery.sky[1]), haze), np.clip((y - line) * height + 0.5, 0, 1))
    return picture


def _trees(across: Frame, *, spacing: float, tallest: float, seed: int) -> Frame:
    """The height of a row of conifers over each column."""
    index = np.floor(across / spacing).astype(int)
    tall = tallest * (0.35 + 0.65 * (np.sin(index * 12.9898 + seed * 78.233) * 43758.5453 % 1))
    side = 1 - np.abs(across / spacing - index - 0.5) * 2
    return tall * side**1.3


def _water(picture: Frame, scenery: Scenery, x: Frame, y: Frame, shore: float, sun_x: float, phase: float) -> Frame:
    height = picture.shape[0]
    depth = np.clip((y - shore) / (1 - shore), 0.0001, 1)
    turn = 2 * math.pi * phase
    swell = np.sin(9 / (depth + 0.12) + 2 * np.sin(5 * x + turn) - 2 * turn) * np.sin(14 * x * (1.3 - depth) + turn)
    sea = mix(rgb(scenery.sky[1]), rgb(scenery.sky[0]), depth**0.6)
    sea = mix(sea, rgb(scenery.accents[3]), 0.14 * np.clip(swell, 0, 1))
    track = np.exp(-(((x - sun_x) / (0.05 + 0.22 * depth)) ** 2))
    sea = mix(sea, rgb(scenery.light), 0.75 * track * np.clip(0.45 + 0.8 * swell, 0, 1))
    return mix(picture, sea, np.clip((y - shore) * height + 0.5, 0, 1))


def pendulums(scenery: Scenery, width: int, height: int, phase: float) -> Frame:
    """A row of pendulums, each a little faster than its neighbour: plainly in motion, and cheap to encode."""
    x, y = np.meshgrid(np.linspace(0, width / height, width), np.linspace(0, 1, height))
    picture = np.zeros((height, width, 3)) + rgb(scenery.accents[2])
    for place in range(5):
        pivot = (place + 1.5) / 7 * width / height
        angle = 0.4 * math.cos(2 * math.pi * phase * (1 + place / 3))
        bob_x, bob_y = pivot + 0.6 * math.sin(angle), 0.08 + 0.66 * math.cos(angle)
        along = np.clip(((x - pivot) * (bob_x - pivot) + y * bob_y) / ((bob_x - pivot) ** 2 + bob_y**2), 0, 1)
        string = np.hypot(x - pivot - along * (bob_x - pivot), y - along * bob_y)
        picture = mix(picture, rgb(scenery.accents[3]), 0.3 * np.clip((0.002 - string) * height + 0.5, 0, 1))
        disc = 0.06 - np.hypot(x - bob_x, y - bob_y)
        picture = mix(picture, rgb(scenery.accents[place % 2]), np.clip(disc * height + 0.5, 0, 1))
    return picture


def orbits(scenery: Scenery, width: int, height: int, phase: float) -> Frame:
    """A seamless loop of discs around a centre."""
    x, y = np.meshgrid(np.linspace(-width / height, width / height, width), np.linspace(-1, 1, height))
    picture = np.zeros((height, width, 3)) + rgb(scenery.accents[2])
    for ring in range(3):
        for step in range(5 + 2 * ring):
            angle = 2 * math.pi * (step / (5 + 2 * ring) + phase / (5 + 2 * ring) * (-1) ** ring)
            radius = 0.28 + 0.25 * ring
            inside = 0.085 - np.hypot(x - radius * math.cos(angle), y - radius * math.sin(angle))
            picture = mix(picture, rgb(scenery.accents[(ring + 3) % 4]), np.clip(inside * height / 2 + 0.5, 0, 1))
    return picture


def poster(scenery: Scenery, width: int, height: int, tile: int) -> Image.Image:
    """Quarter discs on coloured tiles: flat, so that a PNG of it is small."""
    random = np.random.default_rng([scenery.seed, 99])
    large = Image.new("RGB", (width * 2, height * 2))
    draw, side = ImageDraw.Draw(large), tile * 2
    for top in range(0, height * 2, side):
        for left in range(0, width * 2, side):
            ground, figure = random.choice(4, 2, replace=False)
            draw.rectangle((left, top, left + side, top + side), fill=scenery.accents[ground])
            quarter = int(random.integers(4))
            box_left, box_top = left - side * (quarter % 2), top - side * (quarter // 2)
            start = {0: 180, 1: 270, 2: 90, 3: 0}[quarter]
            disc = (box_left, box_top, box_left + side * 2, box_top + side * 2)
            draw.pieslice(disc, start, start + 90, fill=scenery.accents[figure])
    return large.resize((width, height), Image.Resampling.LANCZOS).quantize(32).convert("P")


def melody(scenery: Scenery, seconds: float) -> Frame:
    """A pentatonic arpeggio, mono, from -1 to 1."""
    time = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
    sound = np.zeros_like(time)
    notes = np.random.default_rng(scenery.seed).permutation([0, 3, 5, 7, 10, 12, 15, 17])
    for place in range(int(seconds / 0.25)):
        since = time - place * 0.25
        pitch = scenery.root_hz * 2 ** (notes[place % len(notes)] / 12)
        envelope = np.where(since >= 0, np.exp(-np.clip(since, 0, None) * 4) * np.clip(since * 80, 0, 1), 0)
        sound += envelope * (np.sin(2 * math.pi * pitch * since) + 0.3 * np.sin(4 * math.pi * pitch * since))
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def cover(scenery: Scenery, sound: Frame, width: int, height: int) -> Image.Image:
    """The sound's loudness as bars."""
    picture = Image.new("RGB", (width, height), scenery.accents[2])
    draw = ImageDraw.Draw(picture)
    bars = np.array([np.abs(part).max() for part in np.array_split(sound, 27)])
    left, step = width * COVER_MARGIN, width * (1 - 2 * COVER_MARGIN) / len(bars)
    swell = np.sin(np.linspace(0.15, math.pi - 0.15, len(bars)))
    for place, loudness in enumerate(swell * bars / bars.max()):
        reach = height * 0.34 * loudness
        box = (left + place * step, height / 2 - reach, left + (place + 0.62) * step, height / 2 + reach)
        draw.rounded_rectangle(box, radius=step / 4, fill=scenery.accents[place % 2])
    return picture


def locked(picture: Image.Image) -> Image.Image:
    """A picture out of focus behind a padlock."""
    picture = picture.filter(ImageFilter.GaussianBlur(picture.height / 30))
    draw, unit = ImageDraw.Draw(picture), picture.height / 12
    x, y = picture.width / 2, picture.height / 2
    draw.arc((x - unit, y - 2.4 * unit, x + unit, y), 180, 360, fill="white", width=int(unit / 2.2))
    draw.rounded_rectangle((x - 1.5 * unit, y - unit, x + 1.5 * unit, y + 1.6 * unit), radius=unit / 3, fill="white")
    return picture


def image(frame: Frame) -> Image.Image:
    return Image.fromarray((np.clip(frame, 0, 1) * 255 + 0.5).astype(np.uint8))
