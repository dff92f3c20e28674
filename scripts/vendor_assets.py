"""Puts third-party browser assets, at exact versions and checked digests, where the package serves them from.

    python scripts/vendor_assets.py            fetch with npm, check, unpack
    python scripts/vendor_assets.py --check    only hold the committed files against the digests below

The result is committed: a wheel needs no Node. To take a newer version, change it here with the digest of its tarball
(`npm view PACKAGE@VERSION dist.integrity`) and run without arguments; it prints the digests of the files.
"""

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Asset:
    """Files of one npm package."""

    package: str
    version: str
    integrity: str  #: of the tarball, as the registry states it
    target: Path
    files: dict[str, str]  #: name in the package to the sha256 of the committed file


ASSETS = (
    Asset(
        package="swagger-ui-dist",
        version="5.35.0",
        integrity="sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
        target=ROOT / "src/mediavault/api/docs/swagger-ui",
        files={
            "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
            "swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e0baf9abbb",
            "swagger-ui.css": "a6a4cf68f069eb89984d5d43644e6a812e749df08d2b1320c6e06e6973847d10",
            "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
            "NOTICE": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
        },
    ),
)


def fetch(asset: Asset, folder: Path) -> Path:
    """The package's tarball, its digest checked."""
    name = f"{asset.package}@{asset.version}"
    packed = subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True, capture_output=True, text=True)
    tarball = folder / packed.stdout.split()[-1]
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != asset.integrity:
        raise SystemExit(f"{name}: the tarball's digest is sha512-{digest}, not {asset.integrity}")
    return tarball


def unpack(asset: Asset, tarball: Path) -> None:
    """Write the wanted files, without the comment that would make a browser ask for a source map."""
    asset.target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tarball) as archive:
        for name in asset.files:
            member = archive.extractfile(f"package/{name}")
            if member is None:
                raise SystemExit(f"{asset.package}: {name} is no file")
            lines = member.read().splitlines(keepends=True)
            kept = [line for line in lines if b"sourceMappingURL=" not in line]
            (asset.target / name).write_bytes(b"".join(kept))


def check(asset: Asset) -> bool:
    """Whether every committed file is what it should be; says which is not."""
    sound = True
    for name, expected in asset.files.items():
        path = asset.target / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"
        if digest != expected:
            print(f"{path.relative_to(ROOT)}: {digest}", file=sys.stderr)
            sound = False
    return sound


def main() -> None:
    """Fetch and check, or only check."""
    if sys.argv[1:] != ["--check"]:
        with tempfile.TemporaryDirectory() as folder:
            for asset in ASSETS:
                unpack(asset, fetch(asset, Path(folder)))
    checked = [check(asset) for asset in ASSETS]
    if not all(checked):
        raise SystemExit("vendored files are not those of scripts/vendor_assets.py")


if __name__ == "__main__":
    main()
