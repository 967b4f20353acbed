"""The page in a real browser: Chromium, where there is one."""

from __future__ import annotations

import io
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from support.clips import make_clip
from support.pages import Server, page

from stylebatch.styles import shipped_styles

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytest.importorskip("starlette", reason="needs the extra `page`")
playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium from the system's packages")]

expect = playwright.expect

SAMPLES = Path(__file__).parent.parent / "trainer" / "photos"
#: Milliseconds that a loaded machine may take for what a person waits a moment for.
WAIT = 240_000
expect.set_options(timeout=WAIT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("root")
    (root / "in").mkdir()
    for name in ("cat", "flower", "coffee"):
        shutil.copy(SAMPLES / f"{name}.jpg", root / "in")
    (root / "many").mkdir()
    for number in range(12):
        shutil.copy(SAMPLES / "cat.jpg", root / "many" / f"{number:02}.jpg")
    (root / "many" / "broken.jpg").write_text("no picture")
    with page(root, tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with playwright.sync_playwright() as started:
        # A name that another host has made to lead here.
        led_here = "--host-resolver-rules=MAP evil.example 127.0.0.1"
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", led_here])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Browser, server: Server) -> Iterator[Page]:
    """The page, opened anew. What its scripts complain of fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    tab = context.new_page()
    tab.set_default_timeout(WAIT)
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(server.address)
    expect(tab.locator("html")).to_have_attribute("data-ready", "true")
    assert "token" not in tab.url
    yield tab
    assert not faults
    context.close()


def drop(tab: Page, *paths: Path) -> None:
    """Files, as from a file manager."""
    drop_files(tab, {path.name: path.read_bytes() for path in paths})


def drop_files(tab: Page, contents: dict[str, bytes]) -> None:
    files = [{"name": name, "data": list(content)} for name, content in contents.items()]
    transfer = tab.evaluate_handle(
        """(files) => {
            const held = new DataTransfer();
            for (const { name, data } of files) held.items.add(new File([new Uint8Array(data)], name));
            return held;
        }""",
        files,
    )
    for kind in ("dragenter", "drop"):
        tab.dispatch_event("body", kind, {"dataTransfer": transfer})


def reduced(sample: str) -> Image.Image:
    """A photograph that is painted in every style in a moment."""
    with Image.open(SAMPLES / f"{sample}.jpg") as image:
        image.thumbnail((200, 200))
        return image


def open_viewer(tab: Page, style: str = "hosi", sample: str = "cat") -> None:
    reduced(sample).save(data := io.BytesIO(), "JPEG")
    drop_files(tab, {f"{sample}.jpg": data.getvalue()})
    tab.locator(f"[data-style={style}] img:not([hidden])").wait_for()
    tab.locator(f".card[data-style={style}]").click()
    painted(tab)


def painted(tab: Page) -> None:
    """Wait until the picture is there in full."""
    expect(tab.locator("#stage")).not_to_have_attribute("aria-busy", "true")
    expect(tab.locator("#view-status")).to_contain_text("Painted at")


def pixels_of(tab: Page, element: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(tab.locator(element).screenshot())).convert("RGB"), dtype=float)


def test_a_dropped_photograph_appears_in_every_style(tab: Page) -> None:
    drop(tab, SAMPLES / "flower.jpg")
    expect(tab.locator("#photo-name")).to_have_text("flower.jpg")
    expect(tab.locator(".card img:not([hidden])")).to_have_count(len(shipped_styles()))
    expect(tab.locator("#gallery-status")).to_contain_text("choose one")
    assert {card.get_attribute("data-painted") for card in tab.locator(".card").all()} == {"640"}
    tab.reload()
    expect(tab.locator("#photo-name")).to_have_text("flower.jpg")


def test_a_photograph_of_one_pixel_is_painted(tab: Page) -> None:
    Image.new("RGB", (1, 1), "teal").save(data := io.BytesIO(), "PNG")
    drop_files(tab, {"one.png": data.getvalue()})
    expect(tab.locator(".card img:not([hidden])")).to_have_count(len(shipped_styles()))
    tab.locator(".card[data-style=wave]").click()
    painted(tab)


def test_a_photograph_is_chosen_from_the_machine_and_from_the_root(tab: Page) -> None:
    tab.set_input_files("#file", SAMPLES / "cat.jpg")
    expect(tab.locator("#photo-name")).to_have_text("cat.jpg")
    tab.get_by_role("button", name="Another photograph").click()
    tab.get_by_role("button", name="From the folder").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_role("button", name="in", exact=True).click()
    dialog.get_by_role("button", name="coffee.jpg").click()
    expect(tab.locator("#photo-name")).to_have_text("coffee.jpg")


def test_the_divider_shows_more_of_the_painting_where_it_is_dragged(tab: Page) -> None:
    open_viewer(tab)
    divider, stage = tab.locator("#stage .divider"), tab.locator("#stage").bounding_box()
    assert stage
    before = pixels_of(tab, "#stage")
    tab.mouse.move(stage["x"] + stage["width"] / 2, stage["y"] + 40)
    tab.mouse.down()
    tab.mouse.move(stage["x"] + stage["width"] / 4, stage["y"] + 40, steps=5)
    tab.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "25")
    changed = np.abs(pixels_of(tab, "#stage") - before).mean(axis=(0, 2))
    quarters = [part.mean() for part in np.array_split(changed, 4)]
    assert quarters[1] > 10 * max(quarters[0], quarters[3])
    divider.focus()
    tab.keyboard.press("End")
    expect(divider).to_have_attribute("aria-valuenow", "100")


def test_sliders_and_a_second_style_change_the_picture(tab: Page) -> None:
    open_viewer(tab)
    tab.get_by_role("button", name="Painting", exact=True).click()
    seen = [pixels_of(tab, "#stage")]
    for label, key in (("#strength", "Home"), ("#strength", "End")):
        tab.locator(label).press(key)
        painted(tab)
        seen.append(pixels_of(tab, "#stage"))
    tab.get_by_label("Mix in").select_option("wave")
    expect(tab.locator("#share-shown")).to_have_text("50 %")
    painted(tab)
    seen.append(pixels_of(tab, "#stage"))
    for key, told in (("End", "100 %"), ("Home", "0 %")):
        tab.get_by_label("The photograph’s colours").press(key)
        expect(tab.locator("#colour-shown")).to_have_text(told)
        painted(tab)
        seen.append(pixels_of(tab, "#stage"))
    tab.get_by_label("Width of strokes").press("End")
    expect(tab.locator("#strokes-shown")).to_have_text("16 × as wide")
    painted(tab)
    seen.append(pixels_of(tab, "#stage"))
    differences = [np.abs(a - b).mean() for a, b in itertools.pairwise(seen)]
    assert min(differences) > 3


def test_zoom_and_pan_keep_both_pictures_together(tab: Page) -> None:
    open_viewer(tab)
    tab.locator("#stage").focus()
    tab.keyboard.press("+")
    tab.keyboard.press("ArrowRight")
    places = [tab.locator(name).bounding_box() for name in ("#before", "#after")]
    assert places[0] == places[1]
    tab.keyboard.press("0")
    stage, picture = tab.locator("#stage").bounding_box(), tab.locator("#before").bounding_box()
    assert stage
    assert picture
    assert picture["width"] <= stage["width"] + 1
    assert picture["height"] <= stage["height"] + 1


def test_the_picture_is_saved_in_full_size(tab: Page, tmp_path: Path) -> None:
    open_viewer(tab, "wave", "coffee")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save in full size").click()
    download.value.save_as(tmp_path / "saved.jpg")
    assert download.value.suggested_filename == "coffee_wave.jpg"
    with Image.open(tmp_path / "saved.jpg") as saved:
        assert saved.size == reduced("coffee").size


def test_what_is_no_picture_is_told_and_the_page_goes_on(tab: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("hello")
    drop(tab, tmp_path / "notes.jpg")
    expect(tab.get_by_role("alert")).to_contain_text("notes.jpg: no picture that can be read")
    drop(tab, SAMPLES / "cat.jpg")
    expect(tab.locator("#photo-name")).to_have_text("cat.jpg")


def test_a_wrong_token_opens_nothing(chromium: Browser, server: Server) -> None:
    tab = chromium.new_context().new_page()
    answer = tab.goto(re.sub("token=.*", "token=wrong", server.address))
    assert answer
    assert answer.status == 401
    expect(tab.locator("body")).to_contain_text("open the address that stylebatch page prints")
    tab.context.close()


def test_a_page_of_another_host_gets_and_starts_nothing(tab: Page, server: Server) -> None:
    before = server.ask("/api/jobs").json["jobs"]
    answer = tab.goto(server.address.replace("127.0.0.1", "evil.example"))
    assert answer
    assert answer.status == 403
    told = tab.evaluate(
        """async (here) => {
            const job = { kind: "folder", source: "in", output: "stolen" };
            const sent = { method: "POST", credentials: "include", mode: "no-cors", body: JSON.stringify(job) };
            await fetch(`${here}/api/jobs`, sent).catch(() => {});
            return fetch(`${here}/api/jobs`, { credentials: "include" }).then((answer) => answer.text(), () => "nothing");
        }""",
        f"http://127.0.0.1:{server.port}",
    )
    assert told == "nothing"
    assert server.ask("/api/jobs").json["jobs"] == before


def test_keys_alone_lead_through_the_page(tab: Page) -> None:
    """From the top to a painting: each stop can be seen, and says what it is."""

    def stop() -> str:
        tab.keyboard.press("Tab")
        outlined, called = tab.evaluate(
            """() => {
                const each = document.activeElement;
                const called = each.ariaLabel || each.textContent.trim() || each.labels?.[0]?.textContent;
                return [getComputedStyle(each).outlineStyle, called];
            }"""
        )
        assert outlined != "none", called
        return str(called)

    stops = [stop() for _ in range(8)]
    assert stops[:7] == [
        "Skip to the content", "stylebatch", "Look", "Folders & films", "Train", "Choose a photograph", "From the folder",
    ]  # fmt: skip
    tab.keyboard.press("Enter")
    expect(tab.locator("#photo-name")).to_be_visible()
    tab.locator(".card[data-style=hosi]").focus()
    tab.keyboard.press("Enter")
    expect(tab.locator("#back")).to_be_focused()
    painted(tab)
    reached = [stop() for _ in range(10)]
    assert {"Divider", "Zoom in", "Divider between photograph and painting"} <= set(reached)
    tab.locator("#back").press("Enter")
    expect(tab.locator("#cards")).to_be_visible()


def open_jobs(tab: Page) -> None:
    tab.get_by_role("link", name="Folders & films").first.click()
    expect(tab.locator("#job-form")).to_be_visible()


def start(tab: Page, source: str, output: str) -> None:
    tab.get_by_label("From").fill(source)
    tab.get_by_label("To", exact=True).fill(output)
    tab.get_by_role("button", name="Start", exact=True).click()


def test_a_folder_is_painted_while_the_page_is_loaded_anew(tab: Page) -> None:
    open_jobs(tab)
    tab.get_by_role("button", name="Browse…").first.click()
    tab.get_by_role("dialog").get_by_role("button", name="many", exact=True).click()
    tab.get_by_role("button", name="Take this folder").click()
    expect(tab.get_by_label("From")).to_have_value("many")
    tab.get_by_label("Style", exact=True).select_option("wave")
    tab.get_by_role("button", name="Start", exact=True).click()
    job = tab.locator(".job").filter(has_text="many → many_wave")
    expect(job.locator(".figures")).to_contain_text(re.compile(r"[1-9]\d* of 13 photographs"))
    tab.reload()
    expect(job).to_have_attribute("data-state", "done")
    expect(job.locator(".latest img").first).to_be_visible()
    job.get_by_text("1 failed").click()
    expect(job.locator(".failures")).to_contain_text("broken.jpg")
    job.get_by_role("button", name="Results").click()
    expect(tab.locator(".tile")).to_have_count(12)
    tab.locator(".tile").first.click()
    stage = tab.locator("#compare .stage")
    expect(stage.locator("img")).to_have_count(2)
    stage.locator(".divider").press("Home")
    expect(stage.locator(".divider")).to_have_attribute("aria-valuenow", "0")
    name = tab.locator("#compare-title").text_content()
    tab.get_by_role("button", name="Next →").click()
    expect(tab.locator("#compare-title")).not_to_have_text(name or "")
    with tab.expect_download() as download:
        tab.locator("#compare").get_by_role("link", name="Save").click()
    assert re.fullmatch(r"\d\d\.jpg", download.value.suggested_filename)
    tab.keyboard.press("Escape")
    expect(tab.locator("#compare")).not_to_be_visible()
    with tab.expect_download() as download:
        tab.get_by_role("link", name="All as a ZIP").click()
    assert download.value.suggested_filename == "many_wave.zip"


def test_a_job_is_cancelled_and_a_wrong_one_is_told(tab: Page, server: Server) -> None:
    open_jobs(tab)
    start(tab, "many", "cancelled")
    job = tab.locator(".job").filter(has_text="many → cancelled")
    expect(job.locator(".figures")).to_contain_text(re.compile(r"[1-9]\d* of 13"))
    job.get_by_role("button", name="Cancel").click()
    expect(job).to_have_attribute("data-state", "cancelled")
    assert len(list((server.root / "cancelled").glob("*.jpg"))) < 12
    start(tab, "../outside", "")
    expect(tab.get_by_role("alert")).to_contain_text("outside of")
    start(tab, "many", "/etc/painted")
    expect(tab.get_by_role("alert")).to_contain_text("/etc/painted: outside of")


def test_what_was_chosen_by_eye_is_painted(tab: Page, server: Server) -> None:
    open_viewer(tab)
    tab.get_by_label("Mix in").select_option("scream")
    tab.get_by_label("The photograph’s colours").fill("50")
    tab.get_by_role("button", name="Paint a folder or film like this").click()
    expect(tab.locator("#job-look")).to_contain_text("hosi 50 % + scream 50 %")
    start(tab, "in", "by_eye")
    job = tab.locator(".job").filter(has_text="in → by_eye")
    expect(job).to_have_attribute("data-state", "done")
    told = next(each for each in server.ask("/api/jobs").json["jobs"] if each["shown"]["output"] == "by_eye")
    assert told["job"]["style"] == "hosi:0.5,scream:0.5"
    assert told["job"]["options"]["preserve_color"] == 0.5


def test_dropped_photographs_become_a_job(tab: Page, server: Server) -> None:
    open_jobs(tab)
    drop(tab, SAMPLES / "cat.jpg", SAMPLES / "coffee.jpg")
    expect(tab.locator("#dropped")).to_have_text("2 dropped files")
    tab.get_by_label("To", exact=True).fill("from_drop")
    tab.get_by_role("button", name="Start", exact=True).click()
    expect(tab.locator(".job").filter(has_text="from_drop")).to_have_attribute("data-state", "done")
    assert sorted(path.name for path in (server.root / "from_drop").glob("*.jpg")) == ["cat.jpg", "coffee.jpg"]


def test_a_film_plays_beside_its_original(tab: Page, server: Server) -> None:
    make_clip(server.root / "clip.mp4", frames=12, size=(128, 96))
    open_jobs(tab)
    tab.get_by_label("From").fill("clip.mp4")
    tab.get_by_role("button", name="Ten seconds of the film first").click()
    job = tab.locator(".job").filter(has_text="clip_hosi_preview.mp4")
    expect(job).to_have_attribute("data-state", "done")
    job.get_by_role("button", name="Results").click()
    tab.get_by_role("button", name="clip_hosi_preview.mp4").click()
    videos = tab.locator("#compare video")
    expect(videos).to_have_count(2)
    if tab.evaluate("!document.createElement('video').canPlayType('video/mp4; codecs=avc1.640028')"):
        return  # a Chromium without H.264 says so in the dialog
    tab.get_by_label("Time").fill("0.5")
    tab.wait_for_timeout(500)
    painted, original = (video.evaluate("each => each.currentTime") for video in videos.all())
    assert painted > 0
    assert abs(painted - original) < 0.1


def test_a_painting_becomes_a_style(tab: Page, server: Server) -> None:
    tab.get_by_role("link", name="Train").click()
    tab.set_input_files("#painting-file", SAMPLES.parent / "paintings" / "great_wave.jpg")
    expect(tab.locator("#painting")).to_be_visible()
    expect(tab.get_by_label("Name", exact=True)).to_have_value("great_wave")
    tab.get_by_label("Name", exact=True).fill("my wave")
    short = {"steps": 3, "crop_size": 64, "style_size": 128, "init": "base"}

    def shortened(route: Route) -> None:
        asked = route.request.post_data_json
        assert asked["options"] == {"steps": 500}
        route.continue_(post_data=json.dumps({**asked, "options": short}))

    tab.route("**/api/trainings", shortened)
    tab.locator("#train-start").click()
    job = tab.locator("#training-list .job").filter(has_text="my wave")
    expect(job).to_have_attribute("data-state", "done")
    expect(job.locator(".figures")).to_contain_text("step 3 of 3")
    expect(job.locator("img")).to_be_visible()
    expect(job.locator(".curve path")).to_have_attribute("d", re.compile("^M.*L"))
    job.get_by_role("button", name="Keep as a style").click()
    expect(job.locator(".way")).to_have_text("kept as my wave")
    assert "my wave" in {style["name"] for style in server.ask("/api/styles").json["styles"]}
    tab.get_by_role("link", name="Look", exact=True).click()
    tab.get_by_role("button", name="Sample: cat").click()
    expect(tab.locator("[data-style='my wave'] img")).to_be_visible()


@pytest.mark.parametrize("width", [400, 2560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_and_reached(chromium: Browser, server: Server, width: int, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    tab = context.new_page()
    tab.goto(server.address)
    expect(tab.locator("html")).to_have_attribute("data-ready", "true")
    for section in ("look", "jobs", "train"):
        tab.goto(f"{server.address.partition('?')[0]}#{section}")
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
        unnamed = tab.evaluate(
            """() => [...document.querySelectorAll('button, input, select, a, [role=slider]')]
                .filter((each) => each.offsetParent && !(each.ariaLabel || each.textContent.trim() || each.labels?.length))
                .map((each) => each.outerHTML)"""
        )
        assert not unnamed
        assert not tab.evaluate(FAINT), "text without contrast"
    context.close()


#: Texts whose contrast with what is behind them is under 4.5, as WCAG counts it.
FAINT = """() => {
    const light = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const ground = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const colour = parse(getComputedStyle(each).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const each of document.querySelectorAll('main *, header *')) {
        const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || !each.offsetParent || each.disabled) continue;
        const [a, b] = [light(parse(getComputedStyle(each).color).slice(0, 3)), light(ground(each))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(each.outerHTML);
    }
    return faint.length ? faint : null;
}"""
