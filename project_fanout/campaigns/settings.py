"""What a user sets for a campaign: the message, the mail server, and where mail may go."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from project_fanout.campaigns.errors import CampaignError

Security = Literal["starttls", "tls", "none"]

_PORTS: dict[Security, int] = {"none": 25, "starttls": 587, "tls": 465}


@dataclass(frozen=True, kw_only=True)
class Message:
    """What every recipient gets, as Jinja2 templates over the columns of the list of recipients.

    Beside the columns, templates know `campaign`, `email` and `token`: text that stands for this
    recipient of this campaign, for the link to unsubscribe. Without *token_secret_variable* whoever knows
    the address and the campaign's name can work it out: it is a name then, no proof.

    Args:
        sender: the From address, with or without a name: "Shop <news@shop.example>".
        subject: template of the subject.
        text_template: path of the template of the plain text; None for the one that is shipped.
        html_template: path of the template of the HTML; None for the one that is shipped.
        unsubscribe_url: template of an https: or mailto: address for List-Unsubscribe.
        reply_to: address for answers, with or without a name; None for the sender.
        envelope_sender: address that bounces go to; None for that of the sender.
        headers: further header fields, templates by name.
        token_secret_variable: name of the environment variable with the secret that tokens are made with;
            the secret itself is in no run config and no log. With it, a token is the first 32 hex digits of
            HMAC-SHA256 over the campaign, a NUL, and the address in lower case.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    sender: str = "Demo Shop <news@shop.example>"
    subject: str = "{{ name }}, your autumn letter"
    text_template: str | None = None
    html_template: str | None = None
    unsubscribe_url: str = "https://shop.example/unsubscribe/{{ token }}"
    token_secret_variable: str | None = None
    reply_to: str | None = None
    envelope_sender: str | None = None
    # Not part of the hash, which a dictionary has none of.
    headers: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """The SMTP server of campaigns; without a host mail is kept in a Maildir on this machine."""

    host: Annotated[
        str | None,
        "Host of the SMTP server. Mail goes there only in runs with `deliver: true`. Default: the sink on this "
        "machine.",
    ] = None
    port: Annotated[
        int | None,
        "Port of the server. Default: 587 with starttls, 465 with tls, 25 with none.",
        Ge(1),
        Le(65535),
    ] = None
    security: Annotated[
        Security,
        "starttls: encrypted after the greeting. tls: from the first byte. none: not at all. A certificate is "
        "checked against this machine's authorities and host.",
    ] = "starttls"
    username: Annotated[str | None, "Name to log in with. Default: no login."] = None
    password_variable: Annotated[
        str | None,
        "Name of the environment variable with the password. Each worker reads it when it connects: the password "
        "itself is in no run config and no log.",
    ] = None
    local_hostname: Annotated[
        str | None,
        "Name that this machine gives itself in EHLO; some relays want a full one. Default: what it is called here.",
    ] = None
    max_per_second: Annotated[
        float | None,
        "Messages per second at most, of all workers and runs that share a ledger. Default: no limit.",
        Gt(0),
    ] = None
    timeout_s: Annotated[float, "Seconds to wait for an answer.", Gt(0)] = 30.0
    retry_for_s: Annotated[
        float,
        "Seconds to wait for a server that cannot be reached or takes no mail at all.",
        Ge(0),
    ] = 60.0
    deferred_for_s: Annotated[
        float,
        "Seconds to keep trying a recipient that the server defers, after the others of the batch; the worker does "
        "nothing else meanwhile. After that the recipient is `failed`, and a later run tries again.",
        Ge(0),
    ] = 2.0

    @property
    def run(self) -> str:
        """Id of the run that sends, "" for none: what a server says of the sender holds for the run."""
        return ""

    @property
    def resolved_port(self) -> int:
        return self.port if self.port is not None else _PORTS[self.security]


@dataclass(frozen=True, kw_only=True)
class MailServerOfRun(MailServer):
    """The same, and which run sends."""

    run: str = ""


DEFAULT_MESSAGE = Message()
DEFAULT_SERVER = MailServer()


@dataclass(frozen=True, slots=True)
class Destination:
    """Where this run's mail really goes: to *server*, or to the Maildir of the sink on this machine.

    Args:
        server: the settings; its host counts only if *maildir* is None.
        output_dir: folder of the run's files, absolute.
        maildir: where the sink keeps the mail; None for real delivery.
    """

    server: MailServer
    output_dir: Path
    maildir: Path | None

    @classmethod
    def of(cls, server: MailServer, *, deliver: bool, output_dir: str) -> "Destination":
        """Return the destination: mail leaves this machine only with a host and with *deliver*.

        Raises:
            CampaignError: *deliver* without a host, or a login that cannot be.
        """
        folder = Path(output_dir).expanduser().absolute()
        if deliver and not server.host:
            raise CampaignError(
                "deliver is true, but mail_server has no host: name the SMTP server, or leave deliver out to "
                "have the mail kept on this machine."
            )
        if (server.username is None) != (server.password_variable is None):
            raise CampaignError(
                f"mail_server has username {server.username!r} and password_variable "
                f"{server.password_variable!r}: give both to log in, or neither."
            )
        if server.username is not None and server.security == "none" and deliver:
            raise CampaignError(
                "mail_server has a username and security 'none', which would send the password in the clear: use "
                "starttls or tls."
            )
        if server.local_hostname is not None and not re.fullmatch(r"[!-~]+", server.local_hostname):
            raise CampaignError(
                f"mail_server has local_hostname {server.local_hostname!r}, accepted: a host name in ASCII without "
                "spaces, such as mail.shop.example."
            )
        return cls(server, folder, None if deliver else folder / "maildir")

    def namespace(self, campaign: str) -> str:
        """Return under which name deliveries of *campaign* are claimed.

        A rehearsal with the sink claims nothing of the real delivery, and all servers are one real
        delivery: another host must not send the same mail again.
        """
        kept = "delivered" if self.maildir is None else f"kept in {self.maildir}"
        return f"e-mail campaign {campaign!r}, {kept}"
