"""From a recipient to the bytes of a message: validated, rendered, and safe in every header."""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import jinja2.sandbox
from email_validator import EmailNotValidError, validate_email

from project_fanout.campaigns.addresses import checked_address
from project_fanout.campaigns.errors import CampaignError, UnfitRecipientError
from project_fanout.campaigns.recipients import EMAIL, Recipient
from project_fanout.campaigns.settings import Message
from project_fanout.campaigns.variables import BUILT_IN, EmptyCell, needed_variables

TEMPLATES = Path(__file__).parent / "templates"

LINE_BREAK_IN_HEADER = "control character in a header"
MISSING_VARIABLE = "missing template variable"
TEMPLATE_FAILED = "template failed"

# Longest text that fits on one header line of 78 characters with the longest of our field names.
_ONE_LINE = 60
_LINE, _WORD, _WORD_OF = 76, 75, b"=?utf-8?b?%b?="
_LONGEST_VALUE = 900
# Names of fields that a message has already, or that servers or mail programs write.
_NOT_OWN = re.compile(
    "from|sender|reply-to|to|cc|bcc|subject|date|message-id|list-unsubscribe(-post)?|mime-version|content-.*|"
    "return-path|received|delivered-to",
    re.IGNORECASE,
)
# Unicode's categories Cc, Zl, Zp and Cs.
_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PLAIN = re.compile(r"[ -~]*")
_LINK = re.compile(r"(https?://|mailto:)[!-;=?-~]+")
# A header line has at most 998 characters, and a link cannot be folded.
_LONGEST_LINK = 998 - len("List-Unsubscribe: <>")
# One address, alone or in <> after a name; a comma or @ in a name without quotes would be a second address.
_SENDER = re.compile(r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<name>[^"<>@,;]*?))\s*<(?P<address>[^<>]+)>')


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that is ready to be sent.

    Args:
        row: the recipient's row.
        key: the address in the form in which two spellings of it are the same text.
        sender: the envelope's sender.
        address: the envelope's recipient.
        needs_utf8: whether the server has to support SMTPUTF8.
        content: the message, with CRLF line ends.
    """

    row: int
    key: str
    sender: str
    address: str
    needs_utf8: bool
    content: str


@dataclass(frozen=True, slots=True)
class Bodies:
    """The templates of a message's two parts, as their files have them now."""

    text: str
    html: str

    @classmethod
    def of(cls, message: Message) -> "Bodies":
        """Read the files.

        Raises:
            CampaignError: one cannot be read.
        """
        return cls(
            _read(message.text_template, "letter.txt", "message.text_template"),
            _read(message.html_template, "letter.html", "message.html_template"),
        )


class Composer:
    """Writes the messages of one campaign.

    Templates run in Jinja2's sandbox: they come from run config and files, and must not reach what the
    process knows, such as its environment.

    Args:
        campaign: its name; with the address it decides the Message-ID.
        message: its templates and its sender.
        bodies: the templates of its parts, if they have been read already.

    Raises:
        CampaignError: the sender is no address, a template cannot be read or parsed or wants another one, the
            subject or the link can be nobody's, or the secret of the tokens is not there.
    """

    def __init__(self, campaign: str, message: Message, bodies: Bodies | None = None) -> None:
        self._campaign = campaign
        self._secret = _token_secret(message.token_secret_variable)
        name, sender = _own_mailbox("sender", message.sender)
        self.sender = sender
        self._sender_domain = sender.rpartition("@")[2]
        self._own_headers = _mailbox_header("From", name, sender)
        if message.reply_to is not None:
            self._own_headers += _mailbox_header("Reply-To", *_own_mailbox("reply_to", message.reply_to))
        if message.envelope_sender is not None:
            _, self.sender = _own_mailbox("envelope_sender", message.envelope_sender)
        bodies = bodies or Bodies.of(message)
        html = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=EmptyCell, autoescape=True)
        # In plain text and in headers an escaped ampersand would be seen.
        plain = html.overlay(autoescape=False)
        self._subject = _parsed(plain, message.subject, "message.subject")
        self._link = _parsed(plain, message.unsubscribe_url, "message.unsubscribe_url")
        self._text = _parsed(plain, bodies.text, "message.text_template")
        self._html = _parsed(html, bodies.html, "message.html_template")
        _check_names(message.headers)
        self._headers = {
            header: _parsed(plain, source, f"message.headers: {header}")
            for header, source in message.headers.items()
        }
        self._needed = {
            setting: needed_variables(plain, source)
            for setting, source in (
                ("subject", message.subject),
                ("unsubscribe_url", message.unsubscribe_url),
                ("text_template", bodies.text),
                ("html_template", bodies.html),
                *((f"headers: {header}", source) for header, source in message.headers.items()),
            )
        }
        # What is the same for everybody is wrong for everybody: better once, here, than 100,000 refused recipients.
        alike = {"campaign": campaign, "token": "0" * 32}
        alone: list[tuple[str, str, Callable[[Mapping[str, Any]], str]]] = [
            ("subject", message.subject, self._subject_for),
            ("unsubscribe_url", message.unsubscribe_url, self._link_for),
            *(
                (f"headers: {header}", message.headers[header], partial(_header_value, header, template))
                for header, template in self._headers.items()
            ),
        ]
        for setting, source, header in alone:
            if jinja2.meta.find_undeclared_variables(plain.parse(source)) <= alike.keys():
                try:
                    header(alike)
                except UnfitRecipientError as error:
                    raise CampaignError(f"message.{setting} fits no message: {error}.") from None

    def check_columns(self, columns: Collection[str], source: str) -> None:
        """Refuse a list without a column that a template needs: nobody on it could be written to.

        Raises:
            CampaignError: it lacks one; names all and their templates.
        """
        known = {*columns, EMAIL, *BUILT_IN}
        missing = {setting: sorted(needed - known) for setting, needed in self._needed.items()}
        if any(missing.values()):
            told = "; ".join(
                f"message.{setting} uses {' and '.join(names)}" for setting, names in missing.items() if names
            )
            raise CampaignError(
                f"{told}, which the list of recipients ({source}) does not have. Accepted: {', '.join(sorted(known))}. "
                "Correct the name, add the column, or say what to write without it: {{ x | default('...') }}."
            )

    def compose(self, recipient: Recipient, date: datetime) -> Letter:
        """Return the letter to *recipient*.

        Args:
            recipient: whose columns the templates see.
            date: for the Date header; has a time zone.

        Raises:
            UnfitRecipientError: the address is missing or no single address, a template's variable is
                missing, or a value that goes into a header has a control character.
        """
        address = checked_address(recipient.email)
        key = address.normalized.lower()
        # The same for each try of a message; another text than the token, which only the link is to show.
        message_id = hashlib.sha256(f"Message-ID\0{self._campaign}\0{key}".encode()).hexdigest()[:32]
        token = hmac.new(self._secret, f"{self._campaign}\0{key}".encode(), hashlib.sha256).hexdigest()[:32]
        known = {**recipient.fields, EMAIL: address.normalized, "campaign": self._campaign, "token": token}
        subject, link = self._subject_for(known), self._link_for(known)
        name = recipient.fields.get("name", "")
        _check_header("name", name)
        envelope = address.ascii_email or address.normalized
        # "=_" cannot occur in quoted-printable text, so the boundary is in neither part.
        boundary = f"=_{message_id}"
        content = "".join(
            (
                self._own_headers,
                _mailbox_header("To", name, envelope),
                _text_header("Subject", subject),
                f"Date: {format_datetime(date)}\r\n",
                f"Message-ID: <{message_id}@{self._sender_domain}>\r\n",
                f"List-Unsubscribe: <{link}>\r\n",
                # Mail programs post to https alone.
                "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" if link.startswith("https:") else "",
                *(
                    _text_header(header, _header_value(header, template, known), longest=_LONGEST_VALUE)
                    for header, template in self._headers.items()
                ),
                "MIME-Version: 1.0\r\n",
                f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n',
                _part(boundary, "plain", _rendered(self._text, known)),
                _part(boundary, "html", _rendered(self._html, known)),
                f"--{boundary}--\r\n",
            )
        )
        return Letter(recipient.row, key, self.sender, envelope, address.ascii_email is None, content)

    def _subject_for(self, known: Mapping[str, Any]) -> str:
        return _header_value("subject", self._subject, known)

    def _link_for(self, known: Mapping[str, Any]) -> str:
        link = _header_value("unsubscribe_url", self._link, known)
        if not _LINK.fullmatch(link):
            raise UnfitRecipientError(
                TEMPLATE_FAILED, f"unsubscribe_url is {link!r}, no https: or mailto: address"
            )
        if len(link) > _LONGEST_LINK:
            raise UnfitRecipientError(
                TEMPLATE_FAILED,
                f"unsubscribe_url has {len(link)} characters, accepted: {_LONGEST_LINK} or fewer",
            )
        return link


def _parsed(environment: jinja2.Environment, source: str, setting: str) -> jinja2.Template:
    if half := re.search("[\ud800-\udfff]", source):
        raise CampaignError(
            f"{setting} has half of a character, U+{ord(half[0]):04X}: write the character itself, in UTF-8."
        )
    try:
        if any(True for _ in jinja2.meta.find_referenced_templates(environment.parse(source))):
            raise CampaignError(
                f"{setting} includes, extends or imports another template: it has to be whole in itself."
            )
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise CampaignError(
            f"{setting} is not a Jinja2 template: line {error.lineno}: {error.message}."
        ) from None


def _read(path: str | None, shipped: str, setting: str) -> str:
    file = TEMPLATES / shipped if path is None else Path(path).expanduser()
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CampaignError(f"{setting} is {path!r}, which cannot be read: {error}.") from None


def _token_secret(variable: str | None) -> bytes:
    """Return the secret in the environment variable, nothing where none is asked for."""
    if variable is None:
        return b""
    secret = os.environ.get(variable, "")
    if not secret:
        raise CampaignError(
            f"message.token_secret_variable is {variable!r}, and no such variable is set here: put the secret of the "
            "unsubscribe tokens in it, for the run and all its workers."
        )
    return secret.encode()


def _own_mailbox(setting: str, text: str) -> tuple[str, str]:
    """Return name and address of a sender's mailbox.

    Raises:
        CampaignError: it is not exactly one address, or not one for all servers.
    """
    name, address = _name_and_address(text)
    try:
        _check_header(setting, text)
        valid = validate_email(address, check_deliverability=False)
    except (EmailNotValidError, UnfitRecipientError) as error:
        raise CampaignError(
            f"message.{setting} is {text!r}, which is not one address: {error} Accepted: "
            'news@shop.example, or Shop <news@shop.example>, or "Shop, Inc" <news@shop.example>.'
        ) from None
    if valid.ascii_email is None:
        raise CampaignError(
            f"message.{setting} is {text!r}: its part before the @ has to be ASCII, because servers "
            "without SMTPUTF8 could not take any message of the campaign."
        )
    return name, valid.ascii_email


def _check_names(headers: Mapping[str, str]) -> None:
    for name in headers:
        if not re.fullmatch("[!-9;-~]{1,60}", name):
            raise CampaignError(
                f"message.headers has the name {name!r}, accepted: ASCII without spaces and colons, such as "
                "Feedback-ID."
            )
        if _NOT_OWN.fullmatch(name):
            raise CampaignError(
                f"message.headers has {name}, which a message gets in another way: the settings sender, reply_to, "
                "envelope_sender, subject and unsubscribe_url. Accepted: other names, such as Feedback-ID."
            )
    if len({name.lower() for name in headers}) < len(headers):
        raise CampaignError(f"message.headers names one twice: {', '.join(headers)}. Remove one.")


def _name_and_address(sender: str) -> tuple[str, str]:
    """Return the display name and the address; text of another form counts as an address, which is no valid one."""
    match = _SENDER.fullmatch(sender.strip())
    if match is None:
        return "", sender.strip()
    if match["quoted"] is not None:
        return re.sub(r"\\(.)", r"\1", match["quoted"]), match["address"]
    return match["name"].strip(), match["address"]


def _rendered(template: jinja2.Template, known: Mapping[str, Any]) -> str:
    try:
        return template.render(known)
    except jinja2.UndefinedError as error:
        raise UnfitRecipientError(MISSING_VARIABLE, str(error)) from None
    except Exception as error:  # noqa: BLE001  # a template can raise anything, and does so for this recipient
        raise UnfitRecipientError(TEMPLATE_FAILED, f"{type(error).__name__}: {error}") from None


def _header_value(setting: str, template: jinja2.Template, known: Mapping[str, Any]) -> str:
    value = _rendered(template, known)
    _check_header(setting, value)
    return value


def _check_header(what: str, value: str) -> None:
    """Refuse *value* if it could end its header line, for any reader: all controls and line separators."""
    if found := _NOT_IN_A_LINE.search(value):
        raise UnfitRecipientError(LINE_BREAK_IN_HEADER, f"{what} is {value!r}, with U+{ord(found[0]):04X}")


def _text_header(name: str, value: str, *, longest: int = _ONE_LINE) -> str:
    # What looks like an encoded word is encoded, so that nobody decodes it to something else.
    if _PLAIN.fullmatch(value) and len(value) <= longest and "=?" not in value:
        return f"{name}: {value}\r\n"
    return f"{name}:{_encoded(value, len(name) + 1)}\r\n"


def _mailbox_header(name: str, display_name: str, address: str) -> str:
    if not display_name:
        return f"{name}: {address}\r\n"
    quoted = display_name.replace("\\", "\\\\").replace('"', '\\"')
    if _PLAIN.fullmatch(display_name) and len(quoted) <= _ONE_LINE and "=?" not in display_name:
        return f'{name}: "{quoted}"\r\n <{address}>\r\n'
    return f"{name}:{_encoded(display_name, len(name) + 1)}\r\n <{address}>\r\n"


def _encoded(text: str, used: int) -> str:
    """Return *text* as encoded words, a line each, the first after *used* characters.

    RFC 2047 allows 75 characters a word and 76 a line, which email.header.Header goes beyond.
    """
    words = [b""]
    room = min(_WORD, _LINE - used - 1)
    for character in text:
        encoded = character.encode("utf-8", "replace")
        # Base64 makes four characters of three bytes; no word ends within a character.
        if len(_WORD_OF % b"") + (len(words[-1]) + len(encoded) + 2) // 3 * 4 > room:
            words.append(b"")
            room = _WORD
        words[-1] += encoded
    # The first is empty where the name leaves no room.
    return "\r\n".join(f" {(_WORD_OF % base64.b64encode(word)).decode()}" if word else "" for word in words)


def _part(boundary: str, subtype: str, text: str) -> str:
    lines = "\r\n".join(text.splitlines()) + "\r\n"
    # Surrogates have no UTF-8; they become question marks, as for any reader who cannot show them.
    encoded = binascii.b2a_qp(lines.encode("utf-8", "replace"), istext=True).decode("ascii")
    return (
        f'--{boundary}\r\nContent-Type: text/{subtype}; charset="utf-8"\r\n'
        f"Content-Transfer-Encoding: quoted-printable\r\n\r\n{encoded}\r\n"
    )
