"""The console in a real browser, in front of a real gateway."""

import base64
import re
import urllib.error

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import KEY, PATIENCE, Seeded, Visit

expect.set_options(timeout=PATIENCE)

SVG = base64.b64encode(b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.hacked=1"/>').decode()
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HOSTILE = (
    "</div><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
    "<a href='javascript:window.hacked=1'>here</a>\n```html\n<iframe srcdoc='<script>parent.hacked=1</script>'>\n```"
)


def opened(page: Page, session: str) -> None:
    """Read a session through the search."""
    page.get_by_label("Search sessions").fill(session)
    page.get_by_role("link", name=re.compile(rf"^{session}\b")).click()
    expect(page.get_by_role("heading", name=session, exact=True)).to_be_visible()
    expect(page.locator(".turn").first).to_be_visible()


def test_a_wrong_key_is_told_and_a_right_one_stays_in_the_tab(visit: Visit, gateway: Seeded):
    page = visit(signed_in=False)
    page.get_by_label("Management key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not the management key.")
    page.get_by_label("Management key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    kept = page.evaluate("[JSON.stringify({...localStorage}), document.cookie, location.href]")
    assert not any(KEY in place for place in kept)
    page.reload()
    expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    other = page.context.new_page()
    other.goto(gateway.console)
    expect(other.get_by_label("Management key")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Management key")).to_be_visible()
    assert KEY not in page.evaluate("JSON.stringify({...sessionStorage})")


def test_a_session_is_found_by_search_and_filters(visit: Visit, gateway: Seeded):
    for name, key, model in (("find-ada", "key-a", "gpt"), ("find-bob", "key-b", "gpt"), ("find-eve", "key-b", "opus")):
        gateway.ask(name, "hello", key=key, model=model)
    page = visit()
    rows = page.get_by_role("list", name="Sessions").get_by_role("link")
    page.get_by_label("Search sessions").fill("find-")
    expect(rows).to_have_count(3)
    page.get_by_label("Search sessions").fill("find- support")
    expect(rows).to_have_count(2)
    page.get_by_label("Provider, exactly").fill("anthropic")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("find-eve")
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_label("Last used").select_option("Older than 24 hours")
    expect(page.get_by_text("Nothing found")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(page.get_by_role("link", name=re.compile("^find-ada"))).to_be_visible()


def test_a_transcript_reads_as_a_conversation(visit: Visit, gateway: Seeded):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    first = gateway.ask("read-me", "What is the weather in Paris?", tools=tools)
    call = first["choices"][0]["message"]["tool_calls"][0]["id"]
    gateway.ask("read-me", "", messages=[{"role": "tool", "tool_call_id": call, "content": "18 degrees"}])
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    gateway.ask("read-me", [{"type": "text", "text": "Look at this."}, image])
    gateway.ask("read-me", "Once more, please.", headers={"X-Session-Turn": "3"})
    gateway.ask("read-me", [{"type": "text", "text": "Look again."}, image])
    page = visit()
    opened(page, "read-me")
    turns = page.locator(".turn")
    expect(turns).to_have_count(4)
    expect(turns.nth(0)).to_contain_text("get_weather")
    assert not turns.nth(0).locator("pre").is_visible()
    turns.nth(0).get_by_text("Tool call").click()
    expect(turns.nth(0).locator("pre")).to_contain_text('"city": "Paris"')
    expect(turns.nth(0).locator("footer")).to_contain_text(re.compile(r"demo openai.*\d+ in, \d+ out.*\d"))
    expect(turns.nth(2)).to_contain_text("replaces 1 turn")
    expect(turns.nth(3).get_by_role("img", name=re.compile("^Image, "))).to_be_visible()
    assert turns.nth(3).locator("img").evaluate("image => image.naturalWidth") == 1


def test_long_conversations_come_in_pages_with_the_newest_first(visit: Visit, gateway: Seeded):
    for number in range(45):
        gateway.ask("long-one", f"question {number}")
    page = visit("#/sessions/long-one")
    turns = page.locator(".turn")
    expect(turns).to_have_count(40)
    expect(turns.last).to_be_in_viewport()
    expect(turns.last).to_contain_text("question 44")
    page.get_by_role("button", name="Show earlier turns (1 to 5)").click()
    expect(turns).to_have_count(45)
    expect(turns.first).to_contain_text("question 0")


def test_hostile_markup_shows_as_text(visit: Visit, gateway: Seeded):
    svg = {"type": "image_url", "image_url": {"url": f"data:image/svg+xml;base64,{SVG}"}}
    far = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/spy.png?<b>"}}
    gateway.ask("hostile", [{"type": "text", "text": HOSTILE}, svg, far], messages=None)
    gateway.ask(
        "hostile", HOSTILE, messages=[{"role": "system", "content": HOSTILE}, {"role": "user", "content": HOSTILE}]
    )
    page = visit()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, "hostile")
    expect(page.locator(".turn").first).to_contain_text("<script>window.hacked=1</script><img src=x onerror")
    expect(page.locator(".turn pre").first).to_contain_text("<iframe srcdoc=")
    expect(page.get_by_text("http://127.0.0.1:9/spy.png?<b>")).to_be_visible()
    page.get_by_text("System prompt").click()
    assert page.locator(".talk").locator("script, iframe, a, img, svg image").count() == 0
    page.get_by_role("button", name="As written").click()
    assert page.locator(".talk").locator("script, iframe, a, img, svg image").count() == 0
    page.get_by_role("button", name="As written").click()
    assert page.evaluate("window.hacked") is None
    assert all(url.startswith(gateway.running.url) for url in asked)


def test_a_session_is_forked_at_a_turn(visit: Visit, gateway: Seeded):
    for text in ("My name is Ada.", "one", "two"):
        gateway.ask("fork-me", text)
    page = visit()
    opened(page, "fork-me")
    page.keyboard.press("f")
    page.get_by_label("Up to turn").fill("1")
    page.get_by_label("New id").fill("forked")
    page.get_by_role("dialog").get_by_role("button", name="Fork").click()
    expect(page.get_by_role("heading", name="forked", exact=True)).to_be_visible()
    expect(page.locator(".turn")).to_have_count(1)
    assert "Your name is Ada." in gateway.ask("forked", "What is my name?")["choices"][0]["message"]["content"]
    assert gateway.manage("/sessions/fork-me")[1]["last_turn"] == 3
    page.get_by_label("Search sessions").fill("fork")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Fork", exact=True).click()
    page.get_by_label("New id").fill("fork-me")
    page.get_by_role("dialog").get_by_role("button", name="Fork").click()
    expect(page.get_by_role("alert")).to_contain_text("already")


def test_a_session_is_pinned_unpinned_and_extended(visit: Visit, gateway: Seeded):
    gateway.ask("pin-me", "hello")
    page = visit()
    opened(page, "pin-me")
    header = page.locator(".opened")
    expect(header).to_contain_text("prefers openai")
    page.get_by_role("button", name="Pin", exact=True).click()
    page.get_by_label("Provider", exact=True).select_option("anthropic")
    page.get_by_role("button", name="Save").click()
    expect(header).to_contain_text("prefers anthropic")
    assert gateway.manage("/sessions/pin-me")[1]["metadata"]["preferred_provider"] == "anthropic"
    page.get_by_role("button", name="Pin", exact=True).click()
    page.get_by_label("Provider", exact=True).select_option("None: unpin")
    page.get_by_role("button", name="Save").click()
    expect(header).not_to_contain_text("prefers")
    page.keyboard.press("e")
    page.get_by_label("Let it live").select_option("30 days")
    page.get_by_role("button", name="Extend").last.click()
    expect(header).to_contain_text("ends in 30 d")


def test_a_session_is_deleted_after_a_confirmation(visit: Visit, gateway: Seeded):
    gateway.ask("delete-me", "hello")
    page = visit()
    opened(page, "delete-me")
    page.get_by_role("button", name="Delete", exact=True).click()
    dialog = page.get_by_role("dialog", name="Delete this session?")
    expect(dialog).to_contain_text("delete-me")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    assert gateway.manage("/sessions/delete-me")[0] == 200
    page.keyboard.press("Delete")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No session is open")).to_be_visible()
    expect(page.get_by_text("Nothing found")).to_be_visible()
    assert gateway.manage("/sessions/delete-me")[0] == 404
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name="delete-me", exact=True)).to_be_visible()
    expect(page.locator(".turn")).to_have_count(1)
    assert gateway.manage("/sessions/delete-me")[1]["messages"][0]["content"] == "hello"


def test_the_newest_turns_can_be_dropped(visit: Visit, gateway: Seeded):
    for text in ("one", "two", "three"):
        gateway.ask("drop-me", text)
    page = visit()
    opened(page, "drop-me")
    page.get_by_role("button", name="Drop turn 2 and what follows").click()
    page.get_by_role("dialog").get_by_role("button", name="Drop").click()
    expect(page.locator(".turn")).to_have_count(1)
    assert gateway.manage("/sessions/drop-me")[1]["last_turn"] == 1
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".turn")).to_have_count(3)
    assert gateway.manage("/sessions/drop-me")[1]["last_turn"] == 3


def test_a_provider_cools_down_and_is_reset_disabled_and_enabled(visit: Visit, gateway: Seeded):
    gateway.ask("cooling", "hello", model="flaky")
    page = visit("#/providers")
    card = page.get_by_role("article", name="gone")
    cool_downs = card.get_by_role("list", name="Cool-downs")
    expect(cool_downs).to_contain_text("demo")
    page.get_by_role("button", name="Reset the cool-downs of gone").click()
    expect(page.get_by_text("Cool-downs reset: gone.")).to_be_visible()
    expect(cool_downs).to_have_count(0)
    expect(card).to_contain_text("Ready")
    page.get_by_role("button", name="Disable gone").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    expect(card).to_contain_text("Disabled")
    page.get_by_role("button", name="Enable gone").click()
    expect(card).to_contain_text("Ready")


def test_traffic_is_drawn_as_it_comes(visit: Visit, gateway: Seeded):
    gateway.ask("traffic", "hello")
    page = visit("#/traffic")
    expect(page.get_by_role("img", name=re.compile("^Requests, the last"))).to_be_visible()
    gateway.ask("traffic", "again")
    chart = page.locator(".chart").filter(has=page.get_by_role("heading", name="Requests", exact=True))
    expect(chart.locator(".legend")).to_contain_text(re.compile(r"all[1-9.\d]+/s"))
    expect(chart.locator("text.tick").first).to_have_text("0")
    expect(chart.locator("text.tick").last).to_have_text(re.compile("1 min$"))
    expect(chart.locator("path.curve")).not_to_have_count(0)
    expect(page.get_by_role("row", name=re.compile("^gpt openai"))).to_be_visible()


def test_the_configuration_is_shown_without_its_secrets(visit: Visit):
    page = visit("#/config")
    expect(page.get_by_role("heading", name="providers")).to_be_visible()
    shown = page.locator("main").inner_text()
    assert "anthropic" in shown
    assert KEY not in shown
    assert "key-a" not in shown


def test_every_control_has_a_name_and_tab_goes_from_top_to_bottom(visit: Visit, gateway: Seeded):
    gateway.ask("names", "hello")
    page = visit("#/sessions/names")
    expect(page.locator(".turn")).to_have_count(1)
    for where in ("#/sessions/names", "#/providers", "#/traffic", "#/keys", "#/config"):
        page.goto(gateway.console + where)
        expect(page.get_by_role("main").get_by_role("heading").first).to_be_visible()
        nameless = re.findall(
            r"- (?:button|link|textbox|searchbox|combobox|spinbutton|region|img|dialog)(?: \[|:|$).*",
            page.locator("body").aria_snapshot(),
            re.MULTILINE,
        )
        assert nameless == []
        assert page.locator("h1").count() == 1
    page.goto(gateway.console + "#/sessions/names")
    page.reload()
    expect(page.get_by_role("heading", name="names", exact=True)).to_be_focused()
    page.get_by_role("link", name="Skip to content").focus()
    order = []
    for _ in range(20):
        page.keyboard.press("Tab")
        order.append(page.evaluate("(e => e.getAttribute('aria-label') || e.textContent)(document.activeElement)"))
    wanted = ["Sessions", "Config", "Appearance", "Search sessions", "Owner, exactly", "Last used"]
    places = [order.index(name) for name in wanted]
    assert places == sorted(places), order


def test_the_keyboard_does_everything(visit: Visit, gateway: Seeded):
    for name in ("keys-one", "keys-two"):
        gateway.ask(name, "hello")
    page = visit()
    expect(page.get_by_role("link", name=re.compile("^keys-two"))).to_be_visible()
    page.locator("main").focus()
    page.keyboard.press("/")
    expect(page.get_by_label("Search sessions")).to_be_focused()
    page.keyboard.type("keys-")
    expect(page.get_by_role("list", name="Sessions").get_by_role("link")).to_have_count(2)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name=re.compile("^keys-one"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="keys-one", exact=True)).to_be_focused()
    page.keyboard.press("k")
    expect(page.get_by_role("heading", name="keys-two", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name=re.compile("^keys-two"))).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("p")
    expect(page.get_by_role("heading", name="Providers", exact=True)).to_be_visible()
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert int(red) < 60


def test_it_fits_a_narrow_screen(visit: Visit, gateway: Seeded):
    gateway.ask("narrow", "a-very-long-word-" * 30)
    page = visit(width=360, height=740)
    for where in ("#/sessions", "#/sessions/narrow", "#/providers", "#/traffic", "#/keys", "#/config"):
        page.goto(gateway.console + where)
        expect(page.get_by_role("main").get_by_role("heading").first).to_be_visible()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        beyond = (
            "[...document.querySelectorAll('main *')].filter(e => e.offsetWidth > 360 && !e.closest('.wide-table'))"
        )
        assert page.evaluate(f"{beyond}.map(e => e.className)") == []
    page.goto(gateway.console + "#/sessions/narrow")
    page.get_by_role("button", name="Back to the list").click()
    expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="narrow", exact=True)).to_be_hidden()


def test_an_id_of_several_owners_lets_one_choose(visit: Visit, gateway: Seeded):
    gateway.ask("twice", "of atlas", key="key-a")
    gateway.ask("twice", "of support", key="key-b")
    page = visit("#/sessions/twice")
    page.get_by_role("link", name="support-bot", exact=True).click()
    expect(page.locator(".turn")).to_contain_text("of support")


MARKDOWN = """# Plans

| Plan | Price |
| --- | ---: |
| *Team* | **12** |

1. one `code`
2. two
   - inner

> said
[here](javascript:window.hacked=1) \u202eturned <script>window.hacked=1</script>

```python
print("hello")
```"""


def test_replies_are_formatted_and_stay_text(visit: Visit, gateway: Seeded):
    talk = [{"role": "user", "content": MARKDOWN}, {"role": "assistant", "content": MARKDOWN}]
    body = {"owner": "team-atlas", "id": "formatted", "messages": talk}
    assert gateway.manage("/sessions", body)[0] == 201
    page = visit("#/sessions/formatted")
    reply = page.locator(".said.assistant")
    expect(reply.get_by_role("heading", name="Plans")).to_be_visible()
    expect(reply.get_by_role("cell", name="12")).to_have_css("text-align", "right")
    expect(reply.locator("ol > li")).to_have_count(2)
    expect(reply.locator("ol ul > li")).to_have_text("inner")
    expect(reply.get_by_role("group", name="Code, python")).to_have_text('print("hello")')
    expect(reply).to_contain_text("here javascript:window.hacked=1 U+202Eturned <script>")
    assert page.locator(".said.user table, .talk a, .talk script").count() == 0
    page.locator("main").focus()
    page.keyboard.press("w")
    expect(reply).to_contain_text("| *Team* | **12** |")
    assert page.evaluate("window.hacked") is None


def test_hostile_text_is_formatted_in_no_time(visit: Visit, gateway: Seeded):
    lines = [
        "**" * 800,
        "[" * 1500,
        "`" * 901,
        "_a" * 900,
        "| " * 700,
        "# " + " " * 1500 + "x",
        "> " * 700,
        " " * 1500 + "|",
    ]
    text = "\n".join(line for each in lines for line in (each, "", f"{each}\n---|---"))
    talk = [{"role": "user", "content": "x"}, {"role": "assistant", "content": text}]
    assert gateway.manage("/sessions", {"owner": "team-atlas", "id": "heavy", "messages": talk})[0] == 201
    page = visit("#/sessions/heavy")
    page.get_by_role("button", name=re.compile("^Show all")).click()
    took = page.evaluate(
        "(whole) => import('./markdown.js').then(({ markdown }) => { const t = performance.now(); markdown(whole); "
        "return performance.now() - t; })",
        text,
    )
    assert took < 2000


def test_a_key_is_made_shown_once_and_revoked(visit: Visit, gateway: Seeded):
    gateway.ask("by-atlas", "hello", key="key-a")
    page = visit("#/keys")
    expect(page.get_by_role("list", name="Keys in force")).to_contain_text("owner team-atlas")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("partner")
    page.get_by_label("Models").fill("gpt, opus")
    page.get_by_label("Requests a minute").fill("600")
    page.get_by_role("button", name="Make the key").click()
    shown = page.get_by_role("dialog", name="The key of partner").get_by_label("The key", exact=True)
    secret = shown.input_value()
    gateway.ask("by-partner", "hello", key=secret)
    page.get_by_role("button", name="Close").click()
    expect(page.locator("dialog")).to_have_count(0)
    row = page.get_by_role("listitem", name="partner")
    expect(row).to_contain_text("gpt, opus")
    expect(row).to_contain_text("600 requests/min")
    assert secret not in page.content()
    page.get_by_role("button", name="Revoke partner").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("Revoked (1)")).to_be_visible()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        gateway.ask("by-partner", "hello", key=secret)
    expect(page.get_by_role("row", name=re.compile("^team-atlas"))).to_be_visible()


def test_what_is_found_is_exported_and_deleted_after_it_was_counted(visit: Visit, gateway: Seeded):
    for number in range(3):
        gateway.ask(f"bulk-{number}", "hello", key="key-bulk")
    page = visit("#/sessions?f.owner=bulk")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export these").click()
    assert len(saved.value.path().read_bytes().splitlines()) == 3
    page.get_by_role("link", name=re.compile("^bulk-1")).click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export", exact=True).click()
    assert saved.value.suggested_filename == "bulk-1.jsonl"
    page.get_by_role("button", name="Delete these…").click()
    dialog = page.get_by_role("dialog", name="Delete all of these sessions?")
    expect(dialog).to_contain_text("of bulk")
    dialog.get_by_role("button", name="Delete 3 sessions").click()
    expect(page.get_by_text("3 sessions deleted.")).to_be_visible()
    expect(page.get_by_text("Nothing found")).to_be_visible()
    assert gateway.manage("/sessions?owner=bulk")[1]["count"] == 0


def test_a_gateway_that_does_not_answer_is_told_until_it_does(visit: Visit, gateway: Seeded):
    page = visit("#/providers")
    expect(page.get_by_role("article", name="openai")).to_be_visible()
    page.route("**/v0/management/**", lambda route: route.abort())
    expect(page.get_by_text("The gateway does not answer. What is shown may be old")).to_be_visible()
    page.unroute("**/v0/management/**")
    expect(page.get_by_text("The gateway does not answer. What is shown may be old")).to_be_hidden()
    expect(page.get_by_role("article", name="openai")).to_be_visible()
