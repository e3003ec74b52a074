# SPDX-License-Identifier: GPL-3.0-or-later
"""How secrets are named, and kept out of everything that is printed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

try:
    from ansible.module_utils.secrets import register_secrets
except ImportError:  # ansible-core before 2.22
    register_secrets = None

# Ansible masks each registered value wherever it occurs; masking something as short as "true" would garble results.
SHORTEST_MASKED = 6

# So many characters in a row that a secret has as well are taken for a piece of it: a log may cut a secret short, break
# it over lines, or escape a character in it.
PIECE = 12

SECRET_NAME = re.compile(
    r"password|passwd|passphrase|secret|token|api_?keys?|credential|private_?key"
    r"|(?:^|[_.-])(?:keys?|pass|pwd|pw|dsn|salt|jwt)(?:$|[_.-])",
    re.IGNORECASE,
)
# Up to the last @ of the address: a password may have one that nobody escaped.
URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s:/@]*:)([^\s/]+)(?=@)", re.IGNORECASE)
# A value that may be a secret whatever its name is: one long word of letters and digits, no address.
RANDOM = re.compile(r"(?=[^\s]*\d)(?=[^\s]*[A-Za-z])(?!.*://)(?![./])[^\s]{16,}")
HIDDEN = "***"
# A private key in its armour; and the last line of one whose beginning is missing, which is shorter than the others.
ARMOUR = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)(?:(?!-----BEGIN )[\s\S]){0,16000}?(?=-----END )"
)
ARMOUR_END = re.compile(
    r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/=]{1,76}"
    r"(?=(?:\\n|\s){1,8}(?:\S{1,40}\s)?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)"
)
# Between a name and its value, also in JSON that is a text within JSON.
_IS = r"(?:\\{0,4}[\"'])?\s{0,8}[:=]\s{0,8}"
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|\\{1,4}\"[^\"]*\"?"
_NOT_SHOWN = r"(?!sha256:[0-9a-f]{8} len=|\*\*\*)"
_PARAMETER = r"[\w-]{1,40}=(?:\\{0,4}\"[^\"]*\"|[^\s,\"']+)"
# Options that are followed by a secret, whatever program they belong to.
HIDING_OPTION = (
    r"(?:--[a-z0-9_-]{0,64}(?:password|passwd|passphrase|secret|token|api[_-]?key|(?:access|private)[_-]key)"
    r"|--pass|(?:--|\b)(?:requirepass|masterauth))"
)
# Between an option and its value on a command line, in a list of JSON or YAML, and what is neither option nor variable.
_NEXT = r"(?:[\"']?\s{0,4},\s{0,4}[\"']?|[\"']?\s{1,20}(?:-\s{1,4})?[\"']?)"
_ARGUMENT = rf"{_NOT_SHOWN}(?!-|\$\$?(?:\{{\w+\}}|[A-Z_][A-Z0-9_]*)(?:[\s\"',\]]|$))[^\s\"',\]]+"
# What is masked in free text although nobody knows the value: assignments to a secret's name, forms of known tokens.
# Repetitions are bounded or anchored, so that a hostile line takes no quadratic time.
SHAPES = (
    (ARMOUR, rf"\1{HIDDEN}"),
    (ARMOUR_END, HIDDEN),
    # A line of such a key.
    (
        re.compile(
            r"(?<![\w+/=-])(?=[A-Z0-9+/]*[a-z])(?=[a-z0-9+/]*[A-Z])"
            r"[A-Za-z0-9+/]{64}(?:[A-Za-z0-9+/]{6}|[A-Za-z0-9+/]{12})?(?![\w+/=-])"
        ),
        HIDDEN,
    ),
    (URL_PASSWORD, rf"\1{HIDDEN}"),
    # Headers: scheme and credentials, or all parameters; name and value in quotes after a comma, as programs keep them.
    (
        re.compile(
            rf"(authorization{_IS})((?:bearer|basic)\s{{1,8}})?{_NOT_SHOWN}(?:{_QUOTED}"
            rf"|(?:[\w-]{{1,40}}\s{{1,8}})?{_PARAMETER}(?:\s{{0,4}}[,;]\s{{0,4}}{_PARAMETER})*"
            r"|(?:[\w-]{1,40}[ \t]{1,8})?[^\s,;\"'&}\])]+)",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}",
    ),
    (
        re.compile(
            rf"((?<![\w-])(?:set-)?cookie{_IS})(?:{_QUOTED}|[^\s=;,\"']{{1,128}}=(?:\"[^\"\r\n]*\"|[^\"'\r\n])*)",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            rf"([\"'](?:(?:proxy-)?authorization|(?:set-)?cookie)[\"'],\s{{0,4}}b?)(?:{_QUOTED})", re.IGNORECASE
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            rf"((?:password|passwd|passphrase|secret|token|api[_-]?keys?|apikey|credential|private[_-]?key)"
            rf"[\w.-]{{0,64}}{_IS})((?:bearer|basic)\s{{1,8}})?{_NOT_SHOWN}"
            r"(?:'?\[[^\]]*\]'?|\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,;&}\])]+)",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}",
    ),
    # Options that are followed by a secret: whatever the program, and where only the program says what -a or -p means.
    (
        re.compile(
            rf"({HIDING_OPTION}(?:=|{_NEXT})){_ARGUMENT}",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            r"((?:\bredis-cli\b[^|;&]{0,120}?[\s\"']-a|\bmongo[a-z]*\b[^|;&]{0,120}?[\s\"']-p"
            r"|\bcurl\b[^|;&]{0,120}?[\s\"'](?:-u|--user|--proxy-user)|\bsshpass[\"']?[\s,]{1,4}[\"']?-p)"
            rf"{_NEXT}){_ARGUMENT}"
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(rf"(\b(?:mysql[a-z]*|mariadb[a-z-]*)\b[^|;&]{{0,120}}?[\s\"']-p){_ARGUMENT}"),
        rf"\1{HIDDEN}",
    ),
    # Addresses that are secrets as a whole, and what a proxy lets in.
    (
        re.compile(rf"((?:web_?hook[\w.-]{{0,64}}|dsn){_IS}[\"']?)[a-z][a-z0-9+.-]{{0,20}}://[^\s\"']+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            r"(\b(?:hooks\.slack(?:-gov)?\.com/[a-z]{1,20}/|hooks\.zapier\.com/hooks/|api\.telegram\.org/bot"
            r"|discord(?:app)?\.com/api/(?:v\d{1,3}/)?webhooks/|[\w.-]{0,64}webhook\.office\.com/"
            r"|chat\.googleapis\.com/v1/spaces/))(?!\*\*\*)[^\s\"'<>]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            rf"((?:basic|digest)[_-]?auth(?!\w{{0,64}}file)[\w.-]{{0,64}}{_IS}[\"']?){_NOT_SHOWN}[^\s\"':]+:[^\s\"']+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\${1,2}(?:apr1|[1256y]|2[abxy]|argon2(?:id?|d)|scrypt)\${1,2}[^\s\"',:]{8,}"), HIDDEN),
    (re.compile(r"([?&](?:sig|signature|key|auth|pass|pwd)=)(?!\*\*\*)[^\s&\"'#]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(bearer|basic)\s{1,8}[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"\b(?:sk|pk|rk)[-_][\w-]{16,}|\b(?:gh[a-z]|github_pat|xox[a-z]|dop_v1|AKIA)[-_]?[\w-]{16,}"), HIDDEN),
    # As long as a token of 24 random bytes, with small and capital letters; or hexadecimal of 16 bytes and more.
    (re.compile(r"(?<![\w-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{32,}"), HIDDEN),
    (re.compile(r"(?<![\w-])[0-9a-fA-F]{32,}(?![\w-])"), HIDDEN),
)


def fingerprint(value: str) -> str:
    """The only form in which a secret value is ever shown: ``sha256:<first 8 hex> len=<n>``."""
    return f"sha256:{digest(value)[:8]} len={len(value)}"


def digest(value: str) -> str:
    """The SHA-256 of a value, as 64 hexadecimal digits."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


def register(module: Any, values: Iterable[str]) -> None:
    """Tell Ansible about secrets that were read from files or made, so that it masks them.

    ansible-core up to 2.21 masks them in this module's result; from 2.22 on it masks them in all that it displays for
    the rest of the run (https://github.com/ansible/ansible, lib/ansible/module_utils/secrets.py).

    :param module: the running ``AnsibleModule``.
    :param values: the secret values; those shorter than :data:`SHORTEST_MASKED` are left out.
    """
    masked = [value for value in values if len(value) >= SHORTEST_MASKED]
    module.no_log_values.update(masked)
    if register_secrets is not None:
        register_secrets(masked)


def hide_option(module: Any, option: str, texts: Mapping[str, str]) -> None:
    """Show the values of a dictionary option as fingerprints wherever Ansible shows the module's arguments.

    Ansible itself would mask each of them in all of the result, and with "true" or "2" among them garble it. Instead
    only the secret ones are masked; the module must not put any of these values into its result.

    :param module: the running ``AnsibleModule``; ``option`` has ``no_log`` in its specification.
    :param texts: the option's values as text.
    """
    module.no_log_values.clear()
    register(module, secret_values(texts))
    module.params[option] = {name: fingerprint(value) for name, value in texts.items()}


def redact(text: str, values: Iterable[str]) -> str:
    """``text`` with each of ``values`` replaced by its fingerprint, longest first, and pieces of them by stars."""
    known = frozenset(value for value in values if len(value) >= SHORTEST_MASKED)
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, fingerprint(value))
    return _without_pieces(text, _pieces(known))


@lru_cache(maxsize=4)
def _pieces(values: frozenset[str]) -> frozenset[str]:
    """Each run of :data:`PIECE` characters of the values, as they are and as JSON, Python and addresses write them."""
    forms = (
        line
        for value in values
        for form in (value, json.dumps(value)[1:-1], repr(value)[1:-1], quote(value, safe=""))
        for line in form.splitlines()
    )
    return frozenset(form[at : at + PIECE] for form in forms for at in range(len(form) - PIECE + 1))


def _without_pieces(text: str, pieces: frozenset[str]) -> str:
    kept, at, done = [], 0, 0
    while pieces and at <= len(text) - PIECE:
        if text[at : at + PIECE] not in pieces:
            at += 1
            continue
        end = at + PIECE
        while end < len(text) and text[end - PIECE + 1 : end + 1] in pieces:
            end += 1
        kept += [text[done:at], HIDDEN]
        at = done = end
    return "".join([*kept, text[done:]])


def url_passwords(text: str) -> set[str]:
    """The passwords of the addresses in a text, as they are written and as they are meant."""
    written = {match.group(2) for match in URL_PASSWORD.finditer(text)}
    return written | {unquote(password) for password in written}


def secret_values(environment: Mapping[str, str]) -> set[str]:
    """The secrets in a set of variables: values of secret-sounding names, elements of lists in them, URL passwords.

    :param environment: name to value.
    """
    found = {password for value in environment.values() for password in url_passwords(value)}
    for name, value in environment.items():
        if SECRET_NAME.search(name):
            found |= {value, *(list_elements(value) or value.split(","))}
    return {value.strip() for value in found if value.strip()}


def hidden_values(environment: Mapping[str, str]) -> set[str]:
    """What free text must not show of a set of variables: :func:`secret_values`, and what looks random under any name.

    :param environment: name to value.
    """
    return secret_values(environment) | {value for value in environment.values() if RANDOM.fullmatch(value)}


def list_elements(value: str) -> list[str] | None:
    """The elements of a value that is a JSON list of strings, such as VALID_API_KEYS; ``None`` for any other value."""
    try:
        data = json.loads(value)
    except ValueError:
        return None
    return data if isinstance(data, list) and all(isinstance(item, str) for item in data) else None


def without_keys(text: str) -> str:
    """A text of several lines without the private keys in it, for where it is masked line by line afterwards."""
    return ARMOUR_END.sub(HIDDEN, ARMOUR.sub(rf"\1{HIDDEN}", text))


def mask(text: str, values: Iterable[str] = ()) -> str:
    """Free text, such as a log line, without ``values`` (shown as fingerprints) and all that looks like a secret.

    It masks too much rather than too little.
    """
    text = redact(text, values)
    for shape, replacement in SHAPES:
        text = shape.sub(replacement, text)
    return text
