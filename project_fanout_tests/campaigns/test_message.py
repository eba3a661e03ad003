import hmac
import unicodedata
from contextlib import suppress
from datetime import datetime, timezone
from email import message_from_string
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from project_fanout.campaigns.errors import CampaignError, UnfitRecipientError
from project_fanout.campaigns.message import Composer, Letter
from project_fanout.campaigns.recipients import Recipient
from project_fanout.campaigns.settings import Message

DATE = datetime(2026, 11, 23, 9, 0, tzinfo=timezone.utc)
COMPOSER = Composer("spring", Message())
HEADERS = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "MIME-Version",
    "Content-Type",
]


def letter(email: str | None = "ada@post.example", composer: Composer = COMPOSER, **fields: str) -> Letter:
    return composer.compose(Recipient(1, email, None, {"name": "Ada", "city": "Bonn", **fields}), DATE)


def parsed(each: Letter) -> EmailMessage:
    message = message_from_string(each.content, policy=default)
    assert isinstance(message, EmailMessage)
    assert [part.defects for part in message.walk()] == [[], [], []]
    return message


def test_a_message_has_both_parts_and_every_header() -> None:
    """A recipient gets one message with a text and an HTML part, an id, a date and a way to unsubscribe."""
    message = parsed(letter())

    assert message.keys() == HEADERS
    assert message["From"] == "Demo Shop <news@shop.example>"
    assert message["To"] == "Ada <ada@post.example>"
    assert message["Subject"] == "Ada, your autumn letter"
    assert message["Date"].datetime == DATE
    assert message["Message-ID"].endswith("@shop.example>")
    assert message["List-Unsubscribe"].startswith("<https://shop.example/unsubscribe/")
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message.get_content_type() == "multipart/alternative"
    text, html = message.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert text.get_content().startswith("Dear Ada,")
    assert "<p>Dear Ada,</p>" in html.get_content()


@pytest.mark.parametrize("link", ["http://shop.example/out", "mailto:out@shop.example"])
def test_one_click_is_promised_for_https_alone(link: str) -> None:
    """A link that mail programs do not post to is a link to unsubscribe, and no one-click one."""
    message = parsed(letter(composer=Composer("spring", Message(unsubscribe_url=link))))
    assert message["List-Unsubscribe"] == f"<{link}>"
    assert "List-Unsubscribe-Post" not in message


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (
            {"unsubscribe_url": ""},
            "message.unsubscribe_url fits no message: .* is '', no https: or mailto:",
        ),
        (
            {"unsubscribe_url": "mailto:out@shop.example?subject=no {{ token }}"},
            "message.unsubscribe_url fits no message",
        ),
        ({"unsubscribe_url": "https://shop.example/" + "x" * 1000}, "accepted: 978 or fewer"),
        ({"subject": "Spring\nBcc: x@post.example"}, r"message.subject fits no message: .* with U\+000A"),
        ({"subject": "{% include 'subject.txt' %}"}, "subject includes, extends or imports another template"),
    ],
)
def test_what_is_wrong_for_everybody_stops_the_campaign(settings: dict[str, str], error: str) -> None:
    """A link or subject that nobody's message can have is an error of the settings, not 100,000 refused recipients."""
    with pytest.raises(CampaignError, match=error):
        Composer("spring", Message(**settings))


def test_a_template_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """A letter that was saved with a byte order mark, as on Windows, begins with its first word."""
    file = tmp_path / "letter.txt"
    file.write_text("Dear {{ name }}", encoding="utf-8-sig")
    composer = Composer("spring", Message(text_template=str(file), html_template=str(file)))
    parts = parsed(letter(composer=composer)).iter_parts()
    assert [part.get_content().strip() for part in parts] == ["Dear Ada"] * 2


def test_the_id_is_the_same_each_time_and_another_for_each_recipient_and_campaign() -> None:
    """The same recipient of the same campaign has the same Message-ID, however often it is rendered."""
    other_campaign = Composer("autumn", Message())

    assert parsed(letter())["Message-ID"] == parsed(letter("ADA@post.example"))["Message-ID"]
    ids = {
        parsed(each)["Message-ID"]
        for each in (letter(), letter("bob@post.example"), letter(composer=other_campaign))
    }
    assert len(ids) == 3


def test_a_token_cannot_be_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a secret the unsubscribe token proves that it is ours: another secret gives another one; the id stays."""

    def sent(secret: str | None) -> EmailMessage:
        monkeypatch.setenv("SHOP_TOKENS", secret or "")
        variable = None if secret is None else "SHOP_TOKENS"
        return parsed(letter(composer=Composer("spring", Message(token_secret_variable=variable))))

    messages = [sent(None), sent("one"), sent("one"), sent("two")]
    tokens = [message["List-Unsubscribe"].strip("<>").rpartition("/")[2] for message in messages]
    expected = hmac.new(b"one", b"spring\0ada@post.example", "sha256").hexdigest()[:32]
    assert tokens[1] == tokens[2] == expected
    assert len(set(tokens)) == 3
    assert len({message["Message-ID"] for message in messages}) == 1
    assert all(token not in messages[0]["Message-ID"] for token in tokens)
    assert expected in next(messages[1].iter_parts()).get_content()
    with pytest.raises(CampaignError, match="token_secret_variable is 'SHOP_TOKENS', and no such variable"):
        sent("")


@pytest.mark.parametrize(
    "template",
    [
        "{{ cycler.__init__.__globals__.os.environ['SHOP_SMTP_PASSWORD'] }}",
        "{{ cycler.__init__.__globals__.os.popen('echo s3cret').read() }}",
        "{{ ''.__class__.__mro__ }}",
        "{% for i in range(1000000000) %}s3cret{% endfor %}",
    ],
)
def test_a_template_reaches_nothing_but_the_columns(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subject from run config, a link, a text: none can run a command or read a password of the machine."""
    monkeypatch.setenv("SHOP_SMTP_PASSWORD", "s3cret")
    (tmp_path / "own").write_text(template)
    for message in (
        Message(subject=template),
        Message(unsubscribe_url=f"https://shop.example/{template}"),
        Message(text_template=str(tmp_path / "own")),
        Message(html_template=str(tmp_path / "own")),
    ):
        with pytest.raises(
            (UnfitRecipientError, CampaignError), match=r"template failed: (SecurityError|OverflowError)"
        ) as refused:
            letter(composer=Composer("c", message))
        assert "s3cret" not in str(refused.value)


def test_a_link_that_no_header_can_hold_is_refused() -> None:
    """The link to unsubscribe goes into a header, whose lines have at most 998 characters."""
    composer = Composer("c", Message(unsubscribe_url="https://shop.example/{{ name }}"))

    longest = letter(composer=composer, name="a" * 957)
    assert max(map(len, longest.content.split("\r\n"))) == 998
    with pytest.raises(UnfitRecipientError, match="unsubscribe_url has 979 characters, accepted: 978"):
        letter(composer=composer, name="a" * 958)


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        ("news@shop.example", ""),
        ("<news@shop.example>", ""),
        ("Shöp & Co. <news@shop.example>", "Shöp & Co."),
        ('"Shop, \\"Inc\\"" <news@shop.example>', 'Shop, "Inc"'),
    ],
)
def test_the_sender_is_who_it_says(sender: str, name: str) -> None:
    """A sender is one address, with or without a name."""
    each = letter(composer=Composer("c", Message(sender=sender)))
    assert each.sender == "news@shop.example"
    [address] = parsed(each)["From"].addresses
    assert (address.display_name, address.addr_spec) == (name, "news@shop.example")


@pytest.mark.parametrize(
    "sender",
    [
        "Shop",
        "a@b.example\nBcc: x@y.example",
        "jörg@shop.example",
        "news@shop.example extra",
        "Shop <a@b.example> extra",
        "a@b.example, c@d.example",
        "Shop <a@b.example>, Other <c@d.example>",
        "Shop, Inc <a@b.example>",
        "c@d.example <a@b.example>",
    ],
)
def test_a_sender_that_is_not_one_address_is_refused(sender: str) -> None:
    """Nothing is dropped from a sender, and none of two is chosen: it is refused by name."""
    with pytest.raises(CampaignError, match=r"message\.sender is "):
        Composer("c", Message(sender=sender))


@pytest.mark.parametrize(
    ("email", "reason"),
    [
        (None, "no address"),
        ("  ", "no address"),
        ("ada", "invalid address"),
        ("ada@post.example, bob@post.example", "invalid address"),
        ("ada@post.example bob@post.example", "invalid address"),
        ("ada@post.example\nBcc: bob@post.example", "invalid address"),
        ("Ada <ada@post.example>", "invalid address"),
        ("ada@", "invalid address"),
    ],
)
def test_what_is_not_one_address_is_refused(email: str | None, reason: str) -> None:
    """No address, two addresses and an address with a line break are refused, and the reason says which."""
    with pytest.raises(UnfitRecipientError) as refused:
        letter(email)
    assert refused.value.reason == reason


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\x00"])
def test_a_line_break_in_the_name_is_refused(line_end: str) -> None:
    """A name that would add a header is refused, whatever line break it uses."""
    with pytest.raises(UnfitRecipientError, match=r"control character in a header.*U\+00") as refused:
        letter(name=f"Ada{line_end}Bcc: all@post.example".replace("\u2028", "\x1e"))
    assert refused.value.reason == "control character in a header"


def test_markup_in_the_name_is_escaped_in_html_only() -> None:
    """A name with <script> is text in the HTML part, and itself in the text part and the headers."""
    message = parsed(letter(name="<script>alert(1)</script>"))

    text, html = message.iter_parts()
    assert "&lt;script&gt;" in html.get_content()
    assert "<script" not in html.get_content()
    assert "<script>alert(1)</script>" in text.get_content()
    assert message["To"].addresses[0].display_name == "<script>alert(1)</script>"


def test_a_template_cannot_be_smuggled_in() -> None:
    """What a recipient's columns hold is never taken for a template."""
    assert "Dear {{ 7 * 7 }}," in next(parsed(letter(name="{{ 7 * 7 }}")).iter_parts()).get_content()


def test_a_missing_variable_is_named() -> None:
    """A recipient without a column that a template uses is refused, with the column's name."""
    with pytest.raises(UnfitRecipientError, match="missing template variable: 'city' is undefined"):
        COMPOSER.compose(Recipient(1, "ada@post.example", None, {"name": "Ada"}), DATE)


@pytest.mark.parametrize(
    ("email", "envelope", "needs_utf8"),
    [
        ("ada@bücher.example", "ada@xn--bcher-kva.example", False),
        ("jörg@bücher.example", "jörg@bücher.example", True),
        ("用户@例子.example", "用户@例子.example", True),
    ],
)
def test_addresses_of_the_whole_world(email: str, envelope: str, needs_utf8: bool) -> None:
    """A non-ASCII domain goes out in ASCII; a non-ASCII local part asks the server for SMTPUTF8."""
    each = letter(email)

    assert (each.address, each.needs_utf8) == (envelope, needs_utf8)
    assert parsed(each)["To"].addresses[0].addr_spec == envelope


@given(
    name=st.text(max_size=120)
    | st.sampled_from(["=?utf-8?q?=0ABcc=3A_x?=", '"', "\\", "a" * 500, "ж" * 300, "a, b"]),
    city=st.text(max_size=200),
)
def test_no_text_in_a_column_changes_the_headers(name: str, city: str) -> None:
    """Whatever a column holds: the message has our headers, each once, or it is refused."""
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        with pytest.raises(UnfitRecipientError, match="control character in a header"):
            letter(name=name, city=city)
        return
    each = letter(name=name, city=city)
    message = message_from_string(each.content, policy=default)
    assert message.keys() == HEADERS
    head = each.content.split("\r\n\r\n")[0]
    assert all(len(line) <= 998 for line in head.split("\r\n"))
    assert head.isascii()
    assert [address.addr_spec for address in message["To"].addresses] == ["ada@post.example"]
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_own_templates_and_their_mistakes(tmp_path: Path) -> None:
    """Templates are files of the user's; one that is missing or no template stops the campaign before it starts."""
    (tmp_path / "t.txt").write_text("{{ name }} at {{ email }}")
    (tmp_path / "t.html").write_text("<b>{{ name }}</b>")
    own = Message(text_template=str(tmp_path / "t.txt"), html_template=str(tmp_path / "t.html"), subject="Hi")

    assert (
        next(parsed(letter(composer=Composer("c", own))).iter_parts()).get_content().strip()
        == "Ada at ada@post.example"
    )
    (tmp_path / "t.html").write_text("{% if %}")
    with pytest.raises(CampaignError, match=r"message\.html_template is not a Jinja2 template: line 1"):
        Composer("c", own)
    with pytest.raises(CampaignError, match=r"message\.text_template is '/nowhere', which cannot be read"):
        Composer("c", Message(text_template="/nowhere"))


EMPTY_CELLS = {
    "{% if name %}Dear {{ name }}{% else %}Hello{% endif %}": "Hello",
    "{% if not name %}Hello{% endif %}": "Hello",
    '{{ name or "friend" }}': "friend",
    '{{ name | default("friend") }}': "friend",
    '{{ name | default("friend", true) | upper }}': "FRIEND",
    '{{ (name or "friend") | title }}': "Friend",
    '{{ name if name else "friend" }}': "friend",
    '{{ "Dear " ~ name if name is defined else "Hello" }}': "Hello",
    '{% if name == "" %}Hello{% endif %}': "Hello",
    '{% if name != "Ada" and name not in ["Bob", "Eve"] %}Hello{% endif %}': "Hello",
    "{% if name | length == 0 %}Hello{% endif %}": "Hello",
    '{% if "Dr." in name %}Doctor{% else %}Hello{% endif %}': "Hello",
    '{% set who = name or nickname or "friend" %}{{ who }}': "friend",
}


@pytest.mark.parametrize("template", EMPTY_CELLS)
def test_an_empty_cell_can_be_asked_for(template: str, tmp_path: Path) -> None:
    """Conditions and defaults write the letter of those who have no name, in subject, text and HTML."""
    (tmp_path / "own").write_text(template)
    own = str(tmp_path / "own")
    composer = Composer("c", Message(subject=template, text_template=own, html_template=own))
    composer.check_columns(["email", "name", "nickname"], "list.csv")
    message = parsed(composer.compose(Recipient(1, "ada@post.example"), DATE))
    assert message["Subject"] == EMPTY_CELLS[template]
    assert [part.get_content().strip() for part in message.iter_parts()] == [EMPTY_CELLS[template]] * 2


@pytest.mark.parametrize(
    "template",
    ["{{ name }}", "{{ name | upper }}", "{{ name ~ '!' }}", "{{ name + 'x' }}", "{{ name or city }}"],
)
def test_an_empty_cell_leaves_no_hole_in_a_letter(template: str) -> None:
    """What would be written without its text is refused for those whose cell is empty."""
    composer = Composer("c", Message(subject=template))
    with pytest.raises(UnfitRecipientError, match=r"missing template variable: '(name|city)' is undefined"):
        composer.compose(Recipient(1, "ada@post.example"), DATE)


@pytest.mark.parametrize(
    "template",
    [
        "{{ nmae }}",
        "{% if nmae %}x{% endif %}",
        '{{ nmae or "friend" }}',
        "{% for each in nmae %}x{% endfor %}",
        "{{ Name }}",
        "{% set x = nmae %}",
        "{{ name if city else nmae }}",
    ],
)
@pytest.mark.parametrize("place", ["subject", "unsubscribe_url", "text_template", "html_template"])
def test_a_variable_that_is_no_column_is_named_before_the_start(
    template: str, place: str, tmp_path: Path
) -> None:
    """A misspelt variable is said once, with its setting and the columns, and not to each recipient."""
    (tmp_path / "own").write_text(template)
    value = str(tmp_path / "own") if place.endswith("template") else template
    composer = Composer("c", Message(**{place: value}))
    with pytest.raises(
        CampaignError, match=rf"^message\.{place} uses (nmae|Name), which the list .*list\.csv"
    ):
        composer.check_columns(["email", "name", "city"], "list.csv")


@pytest.mark.parametrize(
    "template",
    [
        '{{ nick | default("friend") }}',
        "{% if nick is defined %}{{ nick }}{% endif %}",
        "{% for number in range(3) %}{{ loop.index }}{{ number }}{% endfor %}",
        "{% set own = name %}{{ own }}{{ token }}{{ campaign }}{{ email }}",
        "{% macro hello(who) %}{{ who }}{% endmacro %}{{ hello(name) }}",
    ],
)
def test_a_template_may_expect_a_column_to_be_missing(template: str) -> None:
    """What has a default, and what a template makes itself, needs no column."""
    composer = Composer("c", Message(subject=template))
    composer.check_columns(["email", "name", "city"], "list.csv")
    assert parsed(letter(composer=composer))["Subject"] is not None


@given(text=st.text(min_size=1, max_size=300), name=st.sampled_from(["Subject", "X-" + "n" * 58]))
def test_encoded_words_are_as_short_as_mail_programs_expect(text: str, name: str) -> None:
    """In any language a word has at most 75 characters and its line 76, and it reads as it was written."""
    written = f"{text} ü"
    try:
        header = letter(composer=Composer("c", Message(headers={"X-T": "{{ name }}"})), name=written)
    except UnfitRecipientError:
        return
    lines = [line for line in header.content.split("\r\n\r\n")[0].split("\r\n") if "=?utf-8?" in line]
    assert lines
    assert all(len(line) <= 76 for line in lines)
    assert all(len(word) <= 75 for line in lines for word in line.split() if word.startswith("=?"))
    assert str(make_header(decode_header(message_from_string(header.content)["X-T"]))) == written
    long = Message(headers={name if name != "Subject" else "X": written.replace("{", "")})
    with suppress(CampaignError):
        assert all(len(line) <= 76 for line in letter(composer=Composer("c", long)).content.split("\r\n")[:4])


def test_answers_bounces_and_headers_of_ones_own() -> None:
    """Reply-To, the envelope's sender and further fields are as the settings say; From stays the sender."""
    message = Message(
        reply_to="Hélène <help@shop.example>",
        envelope_sender="bounces@shop.example",
        headers={"Feedback-ID": "{{ campaign }}:shop", "X-City": "{{ city }}"},
    )
    each = letter(composer=Composer("spring", message), city="Köln")
    mail = parsed(each)
    assert each.sender == "bounces@shop.example"
    assert mail["From"].addresses[0].addr_spec == "news@shop.example"
    assert (mail["Reply-To"].addresses[0].display_name, mail["Reply-To"].addresses[0].addr_spec) == (
        "Hélène",
        "help@shop.example",
    )
    assert (mail["Feedback-ID"], mail["X-City"]) == ("spring:shop", "Köln")
    assert hash(message)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"reply_to": "help"}, r"message\.reply_to is 'help', which is not one address"),
        ({"envelope_sender": "a@b.example, c@d.example"}, r"message\.envelope_sender is 'a@b"),
        ({"headers": {"X-A": "a\nBcc: b@c.example"}}, r"message\.headers: X-A fits no message.*U\+000A"),
        ({"headers": {"X A": "a"}}, "the name 'X A', accepted: ASCII without spaces"),
        ({"headers": {"X\r\nBcc": "a"}}, "has the name"),
        ({"headers": {"bcc": "a@b.example"}}, "headers has bcc, which a message gets in another way"),
        ({"headers": {"Content-Type": "text/plain"}}, "headers has Content-Type"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "names one twice: X-A, x-a"),
        ({"headers": {"X-A": "{% if %}"}}, "headers: X-A is not a Jinja2 template"),
        ({"subject": "half \ud83c"}, r"message\.subject has half of a character, U\+D83C"),
    ],
)
def test_headers_that_cannot_be_are_refused(settings: Any, error: str) -> None:
    """What would add a second header or can be no header stops the campaign before it starts."""
    with pytest.raises(CampaignError, match=error):
        Composer("c", Message(**settings))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Max Müller <max@post.example>", "accepted: max@post.example alone, and the name in a column"),
        ('"Müller, Max" <max@post.example>', "accepted: max@post.example alone"),
        ("<max@post.example>", "accepted: max@post.example alone"),
        ("mailto:max@post.example", "it is a link; accepted: max@post.example alone"),
        ("a@post.example; b@post.example", "it is more than one address"),
    ],
)
def test_what_surrounds_an_address_is_named(text: str, told: str) -> None:
    """A name or a second address is what is wrong, not a letter of the name."""
    with pytest.raises(UnfitRecipientError) as refused:
        letter(text)
    assert refused.value.reason == "invalid address"
    assert told in refused.value.detail
