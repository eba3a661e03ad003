"""One SMTP connection that is kept open, and what the server says to one message."""

import os
import re
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.message import Letter
from project_fanout.campaigns.settings import MailServer
from project_fanout.common import one_line

#: accepted: it is the server's now. refused: it never will be. deferred: ask again later. busy: the server
#: takes no mail at all for now. lost: the connection ended, and the server does not have it. unknown: the
#: connection ended, or made no sense any more, while the server was taking it.
Verdict = Literal["accepted", "refused", "deferred", "busy", "lost", "unknown"]

_BROKEN = (smtplib.SMTPServerDisconnected, OSError)

# What OpenSSL says of a server that will never do; anything else, such as an end of file where the machine
# behind a load balancer is away, may pass.
_NO_TLS_IN_COMMON = {
    "WRONG_VERSION_NUMBER",
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
}

# The first one that the server offers is tried, and no other: each try with a wrong password counts.
_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")
_LOG_IN_AGAIN_S = 60.0

# At the beginning of the text, and some write a # before it; qmail writes "no mailbox here by that name (#5.1.1)".
_ENHANCED = re.compile(r"^#?([245]\.\d{1,3}\.\d{1,3})(?![\d.])|\(#([245]\.\d{1,3}\.\d{1,3})\)")

# A connection that nobody has used for so long is asked whether it is still there: servers end an idle one after
# 10 s to 5 minutes, and a slow rate makes it wait longer than that.
_IDLE_S = 1.0

# Of this process: when a login that was refused may be tried again, by server, name and password.
_refused_logins: dict[tuple[str, str, str], float] = {}


class Unreachable(Exception):  # noqa: N818  # a state of the server, not an error of ours
    """The server cannot be used now; the message says why, *reason* with the server's code if it has answered."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one message.

    Args:
        verdict: see `Verdict`.
        reason: the server's code, e.g. "550 5.1.1", or a few words of ours.
        detail: the server's text, one line.
        by_server: whether it is the server's answer to this message.
    """

    verdict: Verdict
    reason: str = ""
    detail: str = ""
    by_server: bool = False


class Connection:
    """A connection that opens itself when it is needed and again when it has broken.

    Args:
        server: timeouts, security and login.
        address: returns host and port; asked at each connect, because a sink may have moved.
    """

    def __init__(
        self, server: MailServer, address: Callable[[], tuple[str, int]], *, secure: bool = True
    ) -> None:
        self._server = server
        self._address = address
        self._security = server.security if secure else "none"
        self._username = server.username if secure else None
        self._smtp: smtplib.SMTP | None = None
        self._host = ""
        self._used_at = 0.0

    def connect(self) -> None:
        """Connect, encrypt and log in unless that has been done and the server still answers.

        Raises:
            Unreachable: it failed for now.
            CampaignError: it cannot work with these settings: certificate, encryption, login, or a server
                that does not want this machine.
        """
        if self._smtp is not None:
            if self._answers(self._smtp):
                return
            self.drop()
        host, port = self._address()
        try:
            smtp = self._opened(host, port)
        except (smtplib.SMTPException, OSError) as error:
            raise self._not_connected(f"{host}:{port}", error) from None
        try:
            self._log_in(smtp, f"{host}:{port}")
        except _BROKEN as error:
            smtp.close()
            raise Unreachable(f"{host}:{port}: {_described(error)}") from None
        except BaseException:
            smtp.close()
            raise
        self._smtp, self._host, self._used_at = smtp, host, time.monotonic()

    def send(self, letter: Letter, begin: Callable[[], None]) -> Reply:
        """Send *letter* and return what became of it.

        Args:
            letter: what to send; `connect` has been called.
            begin: called just before the content can reach the server.

        Raises:
            CampaignError: the server takes no mail with these settings, whoever it is for.
        """
        smtp = self._smtp
        assert smtp is not None, "connect first"
        begun = False
        self._used_at = time.monotonic()
        try:
            if letter.needs_utf8 and not smtp.has_extn("smtputf8"):
                return Reply(
                    "refused", "server without SMTPUTF8", "the address has non-ASCII characters before the @"
                )
            # smtplib's own mail() and rcpt() parse the address again, which costs a third of the whole message.
            smtp.command_encoding = "utf-8" if letter.needs_utf8 else "ascii"
            options = " SMTPUTF8 BODY=8BITMIME" if letter.needs_utf8 else ""
            code, text = smtp.docmd("MAIL", f"FROM:<{letter.sender}>{options}")
            if code // 100 != 2 and not letter.needs_utf8:
                return self._takes_no_mail(smtp, letter.sender, code, text)
            if code // 100 == 2:
                code, text = smtp.docmd("RCPT", f"TO:<{letter.address}>")
            if code == 530:
                raise self._wants_more(code, text)
            if code // 100 != 2:
                return self._rejected(smtp, code, text)
            begin()
            begun = True
            code, text = smtp.data(letter.content.encode())
        except smtplib.SMTPDataError as error:
            # The server has not asked for the content, so it has none.
            return self._rejected(smtp, error.smtp_code, error.smtp_error)
        except _BROKEN as error:
            self.drop()
            return Reply("unknown" if begun else "lost", "connection lost", _described(error))
        except BaseException:
            self.drop()
            raise
        if code // 100 == 2:
            return Reply("accepted", str(code), _line(text))
        if code // 100 in (4, 5):
            return self._rejected(smtp, code, text)
        self.drop()
        return Reply("unknown", "unreadable answer", f"{code} {_line(text)}")

    def drop(self) -> None:
        """Close the connection without QUIT."""
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    def close(self) -> None:
        """Send QUIT and close the connection."""
        if self._smtp is not None:
            try:
                self._smtp.quit()
            except (smtplib.SMTPException, OSError):
                self._smtp.close()
            self._smtp = None

    def _answers(self, smtp: smtplib.SMTP) -> bool:
        if time.monotonic() < self._used_at + _IDLE_S:
            return True
        try:
            return smtp.noop()[0] // 100 == 2
        except (smtplib.SMTPException, OSError):
            return False

    def _opened(self, host: str, port: int) -> smtplib.SMTP:
        timeout_s, own_name = self._server.timeout_s, self._server.local_hostname
        smtp: smtplib.SMTP
        if self._security == "tls":
            context = ssl.create_default_context()
            smtp = smtplib.SMTP_SSL(host, port, own_name, timeout=timeout_s, context=context)
        else:
            smtp = smtplib.SMTP(host, port, own_name, timeout=timeout_s)
        try:
            if self._security == "starttls":
                _greet(smtp)
                if not smtp.has_extn("starttls"):
                    raise CampaignError(
                        f"{host}:{port} offers no STARTTLS: nothing is sent in the clear. Use security 'tls' if the "
                        "server has it, or 'none' for a server on a network that you trust."
                    )
                smtp.starttls(context=ssl.create_default_context())
            _greet(smtp)
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _not_connected(self, where: str, error: Exception) -> CampaignError | Unreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            return CampaignError(
                f"No encrypted connection to {where} with security {self._security!r}: {error}. The certificate has to "
                "be valid for that name."
            )
        if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS_IN_COMMON:
            return CampaignError(
                f"No encrypted connection to {where} with security {self._security!r}: {error}. Check port and "
                "security of mail_server."
            )
        if isinstance(error, smtplib.SMTPResponseException):
            said = _described(error)
            if isinstance(error, _NotGreetedError):
                said += (
                    f" (to EHLO {error.own_name}; if it is about that name, set local_hostname of mail_server to one "
                    "that the server accepts)"
                )
            if error.smtp_code // 100 == 5:
                return CampaignError(
                    f"{where} rejects this machine: {said}. Ask its operator, or name another server."
                )
            return Unreachable(f"{where}: {said}", _reason(error.smtp_code, _line(error.smtp_error)))
        return Unreachable(f"{where}: {_described(error)}")

    def _log_in(self, smtp: smtplib.SMTP, where: str) -> None:
        if self._username is None:
            return
        variable = self._server.password_variable or ""
        password = os.environ.get(variable)
        if password is None:
            raise CampaignError(
                f"The environment variable {variable}, which password_variable names, is not set in the "
                "worker: set it where Dagster runs."
            )
        if not (password.isascii() and self._username.isascii()):
            # Not the error of the encoding, which quotes the character.
            what = f"username {self._username!r}" if password.isascii() else f"The password in {variable}"
            raise CampaignError(
                f"{what} has a character outside ASCII, which no login here can send: change it."
            )
        offered = smtp.esmtp_features.get("auth", "").upper().split()
        mechanism = next((name for name in _MECHANISMS if name in offered), None)
        if mechanism is None:
            raise CampaignError(
                f"{where} offers the login methods {', '.join(offered) or 'none'}, accepted: {', '.join(_MECHANISMS)}. "
                "Where it takes nothing but OAuth, as Microsoft 365 and Google do, send by a relay that has a login of "
                "its own: an app password, the provider's SMTP relay for this machine's address, or a local Postfix."
            )
        login = (where, self._username, password)
        if time.monotonic() < _refused_logins.get(login, 0.0):
            raise CampaignError(
                f"{where} refused the login of {self._username!r} less than {_LOG_IN_AGAIN_S:g} s ago: it is not tried "
                f"again so soon, lest the account be locked. Check the password in {variable}."
            )
        smtp.user, smtp.password = self._username, password
        try:
            smtp.auth(mechanism, getattr(smtp, f"auth_{mechanism.lower().replace('-', '_')}"))
        except smtplib.SMTPResponseException as error:
            if error.smtp_code // 100 == 4:
                raise OSError(f"login deferred: {error.smtp_code}") from None
            _refused_logins[login] = time.monotonic() + _LOG_IN_AGAIN_S
            # Without the server's text: some quote what they were given.
            raise CampaignError(
                f"{where} refused the login of {self._username!r} with code {error.smtp_code}: check the password in "
                f"{variable}."
            ) from None

    def _takes_no_mail(self, smtp: smtplib.SMTP, sender: str, code: int, text: bytes | str) -> Reply:
        """Return or raise what a no to MAIL means, which is the same command for every recipient."""
        if code == 530:
            raise self._wants_more(code, text)
        if code // 100 == 5:
            raise CampaignError(
                f"{self._host} takes no mail from {sender}: {code} {_line(text)}. Give `message` a sender that it "
                "accepts, or have it accept this one."
            )
        reply = self._rejected(smtp, code, text)
        if reply.verdict != "deferred":
            return reply
        # Some servers take a number of messages from each connection, and then want another one.
        self.close()
        return replace(reply, verdict="busy")

    def _wants_more(self, code: int, text: bytes | str) -> CampaignError:
        return CampaignError(
            f"{self._host} wants a login or encryption first: {code} {_line(text)}. Set username, "
            "password_variable and security of mail_server."
        )

    def _rejected(self, smtp: smtplib.SMTP, code: int, text: bytes | str) -> Reply:
        line = _line(text)
        # 421 is the server's goodbye, and nothing can be built on what is no answer to the command. After any
        # other no, the next message needs a clean slate.
        over = code == 421 or code // 100 not in (4, 5)
        try:
            if over or smtp.rset()[0] // 100 != 2:
                self.drop()
        except _BROKEN:
            self.drop()
        reason = _reason(code, line)
        verdict: Verdict = "lost" if over else "refused" if code // 100 == 5 else "deferred"
        return Reply(verdict, reason, f"{code} {line}", by_server=True)


class _NotGreetedError(smtplib.SMTPHeloError):
    def __init__(self, code: int, text: bytes, own_name: str) -> None:
        super().__init__(code, text)
        self.own_name = own_name


def _greet(smtp: smtplib.SMTP) -> None:
    """Say EHLO, or HELO to a server that does not know it; not smtplib's way, which goes on after a goodbye."""
    if smtp.helo_resp is not None or smtp.ehlo_resp is not None:
        return
    code, text = smtp.ehlo()
    if code in (500, 502, 504):
        code, text = smtp.helo()
    if code // 100 != 2:
        raise _NotGreetedError(code, text, smtp.local_hostname)


def _reason(code: int, line: str) -> str:
    enhanced = _ENHANCED.search(line)
    return f"{code} {enhanced[1] or enhanced[2]}" if enhanced else str(code)


def _line(text: bytes | str) -> str:
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return one_line(decoded, 300)


def _described(error: BaseException) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_line(error.smtp_error)}"
    return f"{type(error).__name__}: {_line(str(error))}".rstrip(": ")
