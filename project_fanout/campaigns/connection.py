"""One SMTP connection that is kept open, and what the server says to one message."""

import os
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.message import Letter
from project_fanout.campaigns.settings import MailServer

#: accepted: it is the server's now. refused: it never will be. deferred: ask again later. lost: the
#: connection broke before the content was sent. unknown: it broke after that.
Verdict = Literal["accepted", "refused", "deferred", "lost", "unknown"]

_BROKEN = (smtplib.SMTPServerDisconnected, OSError)


class Unreachable(Exception):  # noqa: N818  # a state of the server, not an error of ours
    """The server cannot be connected to now; the message says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one message.

    Args:
        verdict: see `Verdict`.
        reason: the server's code, e.g. "550 5.1.1", or a few words of ours.
        detail: the server's text, one line.
    """

    verdict: Verdict
    reason: str = ""
    detail: str = ""


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

    def connect(self) -> None:
        """Connect, encrypt and log in unless that has been done.

        Raises:
            Unreachable: it failed for now.
            CampaignError: it cannot work with these settings: certificate, encryption or login.
        """
        if self._smtp is not None:
            return
        host, port = self._address()
        try:
            smtp = self._opened(host, port)
        except ssl.SSLError as error:
            raise CampaignError(
                f"{host}:{port} cannot be spoken to with security {self._security!r}: {error}. Its certificate has "
                "to be valid for that name."
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            raise Unreachable(f"{host}:{port}: {_described(error)}") from None
        try:
            self._log_in(smtp, host)
        except _BROKEN as error:
            smtp.close()
            raise Unreachable(f"{host}:{port}: {_described(error)}") from None
        except BaseException:
            smtp.close()
            raise
        self._smtp = smtp

    def send(self, letter: Letter, begin: Callable[[], None]) -> Reply:
        """Send *letter* and return what became of it.

        Args:
            letter: what to send; `connect` has been called.
            begin: called just before the content can reach the server.
        """
        smtp = self._smtp
        assert smtp is not None, "connect first"
        begun = False
        try:
            if letter.needs_utf8 and not smtp.has_extn("smtputf8"):
                return Reply(
                    "refused", "server without SMTPUTF8", "the address has non-ASCII characters before the @"
                )
            # smtplib's own mail() and rcpt() parse the address again, which costs a third of the whole message.
            smtp.command_encoding = "utf-8" if letter.needs_utf8 else "ascii"
            options = " SMTPUTF8 BODY=8BITMIME" if letter.needs_utf8 else ""
            code, text = smtp.docmd("MAIL", f"FROM:<{letter.sender}>{options}")
            if code // 100 == 2:
                code, text = smtp.docmd("RCPT", f"TO:<{letter.address}>")
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
        return (
            Reply("accepted", str(code), _line(text))
            if code // 100 == 2
            else self._rejected(smtp, code, text)
        )

    def drop(self) -> None:
        """Close the connection without a word."""
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    def close(self) -> None:
        """Take leave and close the connection."""
        if self._smtp is not None:
            try:
                self._smtp.quit()
            except (smtplib.SMTPException, OSError):
                self._smtp.close()
            self._smtp = None

    def _opened(self, host: str, port: int) -> smtplib.SMTP:
        timeout_s = self._server.timeout_s
        if self._security == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=timeout_s, context=ssl.create_default_context())
        smtp = smtplib.SMTP(host, port, timeout=timeout_s)
        try:
            if self._security == "starttls":
                smtp.ehlo()
                if not smtp.has_extn("starttls"):
                    raise CampaignError(
                        f"{host}:{port} offers no STARTTLS: nothing is sent in the clear. Use security 'tls' if the "
                        "server has it, or 'none' for a server that you reach on a safe way."
                    )
                smtp.starttls(context=ssl.create_default_context())
            smtp.ehlo_or_helo_if_needed()
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _log_in(self, smtp: smtplib.SMTP, host: str) -> None:
        if self._username is None:
            return
        variable = self._server.password_variable or ""
        password = os.environ.get(variable)
        if password is None:
            raise CampaignError(
                f"The environment variable {variable}, which password_variable names, is not set in the "
                "worker: set it where Dagster runs."
            )
        try:
            smtp.login(self._username, password)
        except smtplib.SMTPResponseException as error:
            if error.smtp_code // 100 == 4:
                raise OSError(f"login deferred: {error.smtp_code}") from None
            # Without the server's text: some quote what they were given.
            raise CampaignError(
                f"{host} refused the login of {self._username!r} with code {error.smtp_code}: check the password in "
                f"{variable}."
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            raise CampaignError(f"{host} offers no login that this machine knows: {error}") from None

    def _rejected(self, smtp: smtplib.SMTP, code: int, text: bytes | str) -> Reply:
        line = _line(text)
        # 421 is the server's goodbye; after any other no, the next message needs a clean slate.
        try:
            if code == 421 or smtp.rset()[0] // 100 != 2:
                self.drop()
        except _BROKEN:
            self.drop()
        enhanced = line.split(" ", 1)[0]
        dotted = enhanced.count(".") == 2 and enhanced.replace(".", "").isdigit()
        reason = f"{code} {enhanced}" if dotted else str(code)
        return Reply("refused" if code // 100 == 5 else "deferred", reason, f"{code} {line}")


def _line(text: bytes | str) -> str:
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return " ".join(decoded.split())[:300]


def _described(error: BaseException) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_line(error.smtp_error)}"
    return f"{type(error).__name__}: {_line(str(error))}".rstrip(": ")
