# ruff: noqa: SIM905, RUF005 - tables of text are read more easily as text
"""Hundreds of ways to write a URL that leads to this machine, or that two readers would take for two.

Every one is to be refused before anything is dialled. `{port}` is that of a canary.
"""

from collections.abc import Iterator
from itertools import product
from urllib.parse import quote

_LOOPBACK = (127, 0, 0, 1)


def _number(value: int, base: str) -> str:
    return {"decimal": f"{value}", "octal": f"0{value:o}", "hex": f"0x{value:x}"}[base]


def numeric_ipv4() -> Iterator[str]:
    """127.0.0.1 with every mixture of bases in one, two, three and four parts, as `inet_aton` reads it."""
    for bases in product(("decimal", "octal", "hex"), repeat=4):
        for parts in ((2130706433,), (127, 1), (127, 0, 1), _LOOPBACK):
            if len(set(bases[len(parts) :])) > 1 or (parts == _LOOPBACK and set(bases) == {"decimal"}):
                continue
            yield ".".join(_number(value, base) for value, base in zip(parts, bases, strict=False))


ODD_IPV4 = """
    127.0.0.1. 127.1. 2130706433. 0x7f000001. 127.000.000.001 0000177.0.0.01 127.0.0.0x1 0X7F.0.0.1 0X7F000001
    0x7F000001 0x000000007f000001 017700000001 00017700000001 0x7f.1 383.0.0.1 127.0.0.257 6425673729
    0x17f000001 127.0.0.1.1 127.0.0.1.0 127..1 .127.0.0.1 127.0.0.-1 -2130706433 +127.0.0.1 1.27e2.0.1
    0b1111111.0.0.1 0o177.0.0.1 127.0x 127.0.0.1.. 127,0.0.1 127.0.0.1: 0 00 0x0 0.0 1 127 0x7f 0177
""".split()

_DIGITS = {
    "fullwidth": 0xFF10,
    "Arabic-Indic": 0x0660,
    "extended Arabic-Indic": 0x06F0,
    "Devanagari": 0x0966,
    "Bengali": 0x09E6,
    "Thai": 0x0E50,
    "mathematical bold": 0x1D7CE,
    "mathematical monospace": 0x1D7F6,
    "mathematical double-struck": 0x1D7D8,
    "segmented": 0x1FBF0,
}
_DOTS = ("\u3002", "\uff0e", "\uff61", "\u2024", "\u00b7", "\u0701")


def unicode_ipv4() -> Iterator[str]:
    """Digits and dots that normalise to ASCII, or look like it."""
    for zero in _DIGITS.values():
        yield "".join(chr(zero + int(c)) if c.isdigit() else c for c in "127.0.0.1")
        yield "".join(chr(zero + int(c)) for c in "2130706433")
    for dot in _DOTS:
        yield "127.0.0.1".replace(".", dot)
        yield "localhost" + dot
    yield from ("①②⑦.⓪.⓪.①", "¹²⁷.⁰.⁰.¹", "₁₂₇.₀.₀.₁", "⒈27.0.0.1", "127.0.0.⒈", "12７.0.0.1")


def escaped() -> Iterator[str]:
    """Percent-encodings that a reader may undo, once or twice."""
    for host in ("127.0.0.1", "localhost", "[::1]"):
        wholly = "".join(f"%{ord(c):02x}" for c in host)
        yield from (wholly, wholly.upper().replace("%", "%25"), wholly.replace("%", "%25"))
    yield from ("127%2e0%2e0%2e1", "127.0.0%2E1", "127.0.0.1%2e", "%31%32%37.0.0.1", "127.0.0.1%00", "127.0.0.1%20")
    yield from ("127.0.0.1%00.receiver.example", "receiver.example%00.127.0.0.1", "127.0.0.1%0d%0a", "127.0.0.1%2f")
    yield from ("127.0.0.1%23", "127.0.0.1%3f", "receiver.example%40127.0.0.1", "%40127.0.0.1", "127.0.0.1%5c")
    yield from (quote("１２７.0.0.1"), quote("127。0。0。1"), "%", "%zz", "%u0031", "127.0.0.1%")


_CONTROLS = "\x00\x01\t\n\x0b\x0c\r\x1b \x7f\x80\x85\xa0\xad\u034f\u200b\u200d\u2028\u2060\u202e\u3000\ufeff"


def with_controls() -> Iterator[str]:
    """White space, controls and what is invisible: around the host and inside of it."""
    for character in _CONTROLS:
        yield from (f"{character}127.0.0.1", f"127.0.0.1{character}", f"127.0{character}.0.1", f"local{character}host")


HOMOGRAPHS = (
    """
    ｌｏｃａｌｈｏｓｔ ⓛⓞⓒⓐⓛⓗⓞⓢⓣ lоcalhost ℓocalhost localhoſt 𝐥𝐨𝐜𝐚𝐥𝐡𝐨𝐬𝐭 𝓁ocalhost ＬＯＣＡＬＨＯＳＴ lοcalhost
    Kreceiver.example
    receiver.examplе réceiver.example straße.example İ.example faß.example ☃.example ☃ 例え.example
    receiver。example receiver．example
""".split()
    + ["l\xadocalhost"]
)

IPV6 = """
    [::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::0:1] [0::1] [::0001] [::] [0::0]
    [::ffff:127.0.0.1] [::FFFF:127.0.0.1] [::ffff:7f00:1] [::ffff:7F00:0001] [::0.0.0.0] [0:0:0:0:0:ffff:7f00:1]
    [0:0:0:0:0:FFFF:127.0.0.1] [::ffff:0:127.0.0.1] [::ffff:0:7f00:1] [::127.0.0.1] [::7f00:1]
    [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::127.0.0.1] [0064:ff9b:0:0:0:0:7f00:0001] [2002:7f00:1::]
    [2002:7f00:0001::1] [2002:7f00:1::7f00:1] [2001:0:808:808::80ff:fffe] [2001:0:7f00:1::f7f7:f7f7] [2001::1]
    [2606:4700::5efe:127.0.0.1] [2606:4700::200:5efe:127.0.0.1] [2606:4700:0:0:0:5efe:7f00:1]
    [fe80::5efe:127.0.0.1] [fe80::1] [fec0::1] [fc00::1] [fd00::1] [ff02::1] [ff01::1] [ff05::2] [100::1]
    [100:0:0:1::1] [2001:db8::1] [2001:10::1] [2001:20::1] [3fff::1] [5f00::1] [4000::1] [1::1] [200::1]
    [::ffff:10.0.0.1] [::ffff:192.168.0.1] [::ffff:172.16.0.1] [::ffff:100.64.0.1] [::ffff:0.0.0.0]
    [64:ff9b::10.0.0.1] [2002:a00:1::] [2002:c0a8:1::] [::ffff:224.0.0.1] [::ffff:255.255.255.255]
""".split()
ODD_IPV6 = (
    """
    [::1%lo] [::1%25lo] [::1%1] [::1%251] [::1%] [fe80::1%eth0] [fe80::1%25eth0] [::1%00] [::1%2f]
    [2606:4700::1%1] [2606:4700::1%25lo] ::1 0:0:0:0:0:0:0:1 ::ffff:127.0.0.1 [::1 ::1] [[::1]] [] [::1]x x[::1]
    [::1].example [::1]. [v1.::1] [vF.127.0.0.1] [127.0.0.1] [localhost] [::ffff:0177.0.0.1] [::ffff:127.1]
    [::ffff:127.0.0.01] [::00001] [:::1] [1:2:3] [::ffff:0x7f.0.0.1] [0:0:0:0:0:0:0:0:1] [::g] [::１] [：：1] ［::1］
    [::ffff:127。0。0。1]
""".split()
    + ["[ ::1]", "[::1 ]"]
)

PRIVATE_IPV4 = """
    127.0.0.1 127.0.0.2 127.255.255.255 127.127.127.127 0.0.0.0 0.0.0.1 0.255.255.255 10.0.0.1 10.255.255.255
    172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255 100.64.0.1 100.127.255.255 192.0.0.1 192.0.0.8
    192.0.0.170 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 192.88.99.1 192.31.196.1
    192.52.193.1 192.175.48.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.254 255.255.255.255
""".split()

#: Plain names. A resolver decides what they stand for, and its answer is judged.
NAMES = """
    localhost LOCALHOST LocalHost localhost. a.localhost localhost.localdomain localhost6 ip6-localhost
    ip6-loopback broadcasthost metadata metadata.internal instance-data router.local kubernetes.default.svc
    host.docker.internal gateway.docker.internal wpad rebind.example 127.0.0.1.rebind.example
    7f000001.rebind.example 0x7f.rebind.example xn--e1awd7f.example xn--a.example _dmarc.rebind.example
    a--b.example 127-0-0-1.example 1e100.example 127.0.0.1e0 0.example a.b.c.d.e.f.example
""".split()
ODD_NAMES = (
    """
    . .. a..b .a a.. -a.example a-.example a.-b * *.example a,b a;b a'b a!b a$b a&b a(b) a=b a+b a~b a|b a^b a`b
    a{b} a<b>
""".split()
    + ["", 'a"b', "a b", "a" * 64, "a." * 127 + "a"]
)

PORTS = (
    """
    0 00 -1 +80 080 65536 99999 100000 0x50 8_0 ８０ ٨٠ 80:80 80.0 1e3 80%20 80%00 %38%30 http ²
""".split()
    + [" 80", "80 ", ""]
)

_TO = "127.0.0.1:{port}"
MISREAD = [
    f"http://receiver.example@{_TO}/",
    f"http://receiver.example:80@{_TO}/",
    f"http://{_TO}@receiver.example/",
    f"http://u:p@{_TO}/",
    f"http://@{_TO}/",
    f"http://:@{_TO}/",
    f"http://u:@{_TO}/",
    f"http://a@b@{_TO}/",
    f"http://receiver.example%40{_TO}/",
    f"http://receiver.example%2f@{_TO}/",
    f"http://receiver.example%23@{_TO}/",
    f"http://receiver.example%3f@{_TO}/",
    f"http://receiver.example\\@{_TO}/",
    f"http://{_TO}\\@receiver.example/",
    f"http://{_TO}\\.receiver.example/",
    f"http://receiver.example\\.{_TO}/",
    f"http:\\\\{_TO}\\",
    f"http:/\\{_TO}/",
    f"http:\\/{_TO}/",
    f"http://\\{_TO}/",
    f"http:\\\\receiver.example@{_TO}",
    f"\\\\{_TO}\\x",
    f"http://receiver.example&@{_TO}#@receiver.example/",
    f"http://receiver.example;@{_TO}/",
    f"http://{_TO},receiver.example/",
    f"http://{_TO} receiver.example/",
    f"http://receiver.example {_TO}/",
    f"http://receiver.example\t@{_TO}/",
    f"http://receiver.example\n@{_TO}/",
    f"http://\r\n{_TO}/",
    f"http://receiver.example\x00@{_TO}/",
    f"http://receiver.example／@{_TO}/",
    f"http://receiver.example＠{_TO}/",
    f"http://receiver.example？@{_TO}/",
    f"http://receiver.example＃@{_TO}/",
    f"http://{_TO}／x",
    f"http://℀.{_TO}/",
    f"http:{_TO}/",
    f"http:/{_TO}/",
    f"http:///{_TO}/",
    f"http:////{_TO}/",
    f"//{_TO}/",
    f"///{_TO}/",
    f"{_TO}/",
    f"://{_TO}/",
    f":http://{_TO}/",
    f"http//{_TO}/",
    f"http;//{_TO}/",
    f"http：//{_TO}/",
    f"http:／／{_TO}/",
    f" http://{_TO}/",
    f"\thttp://{_TO}/",
    f"\x00http://{_TO}/",
    f"\ufeffhttp://{_TO}/",
    f"ht\ntp://{_TO}/",
    f"h\x00ttp://{_TO}/",
    f"http\t://{_TO}/",
    f"http ://{_TO}/",
    f"http%3a//{_TO}/",
    f"%68ttp://{_TO}/",
    f"url:http://{_TO}/",
    f"<http://{_TO}/>",
    f'"http://{_TO}/"',
    f"http://http://{_TO}/",
    f"http://https:{_TO}/",
    "",
    " ",
    "http",
    "http:",
    "http:/",
    "http://",
    "http://?",
    "http://#",
    "http:///",
    "http://:{port}/",
    "http://:{port}@/",
    "http://@/",
    "https://:443/",
]

SCHEMES = """
    file ftp ftps sftp scp gopher dict ldap ldaps tftp telnet ssh smtp imap jar netdoc data javascript vbscript
    view-source about blob ws wss unix phar expect http+unix unix+http httpu httpx http2 h2c shttp hTTpt php
    rtsp mailto urn git svn httpſ ｈｔｔｐ ﬁle htтp hттp
""".split()
SCHEME_FORMS = ("{scheme}://127.0.0.1:{port}/", "{scheme}:127.0.0.1:{port}")


def refused_as_written() -> list[str]:
    """Refused for their spelling: no resolver is to be asked."""
    spelled = [
        *numeric_ipv4(),
        *ODD_IPV4,
        *unicode_ipv4(),
        *escaped(),
        *with_controls(),
        *HOMOGRAPHS,
        *ODD_IPV6,
        *ODD_NAMES,
    ]
    urls = [f"http://{host}:{{port}}/x" for host in spelled]
    urls += [f"https://127.0.0.1:{port}/" for port in PORTS if port]
    urls += [f"http://receiver.example:{port}/" for port in PORTS] + ["http://[::1]:/", "http://127.0.0.1:/"]
    urls += [form.replace("{scheme}", scheme) for scheme in SCHEMES for form in SCHEME_FORMS]
    return list(dict.fromkeys([*urls, *MISREAD]))


def refused_for_address() -> list[str]:
    """Well written; the address itself may not be dialled."""
    hosts = [*PRIVATE_IPV4, *IPV6]
    return [f"{scheme}://{host}:{{port}}/x" for host in hosts for scheme in ("http", "HTTPS")]


def refused_once_resolved() -> list[str]:
    """Well written; a resolver that leads inside is asked, and its answer refused."""
    return [f"{scheme}://{host}:{{port}}/x" for host in NAMES for scheme in ("http", "https")]


def everything(port: int) -> list[str]:
    """All of them, for a canary on that port."""
    urls = (*refused_as_written(), *refused_for_address(), *refused_once_resolved())
    return list(dict.fromkeys(url.replace("{port}", str(port)) for url in urls))
