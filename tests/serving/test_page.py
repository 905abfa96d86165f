"""The page in a real browser: a click changes the list in front of the visitor, by mouse, keyboard and on a phone."""

import os
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SCREENSHOT = "NEXTCLICK_SCREENSHOT"  # where to keep a picture of a desktop's page


@pytest.fixture
def page(running):
    """The address of a shop's page."""
    return f"http://127.0.0.1:{running[0].port}/"


@pytest.fixture(params=[(1200, 900), (390, 844)], ids=["desktop", "phone"])
def browser(request, browser):
    """With a screen of that size."""
    width, height = request.param
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    return browser


def listed(browser) -> list[str]:
    return browser.execute_script("return [...document.querySelectorAll('#next strong')].map(node => node.textContent)")


def clicks_known(browser, n: int) -> None:
    WebDriverWait(browser, 20).until(
        lambda b: (
            b.find_element(By.ID, "next").get_attribute("data-clicks") == str(n)
            and b.find_element(By.ID, "next").get_attribute("aria-busy") == "false"
        )
    )


REFUSE_ONCE = """
const real = window.fetch;
window.refused = 0;
window.fetch = (path, ...rest) => {
  if (path !== "events" || window.refused++) return real(path, ...rest);
  const refusal = {status: 429, headers: {"retry-after": "1"}};
  return Promise.resolve(new Response('{"error": "too busy: try again"}', refusal));
};
"""


def test_a_click_that_was_refused_for_a_moment_is_sent_again(page, browser):
    browser.get(page)
    clicks_known(browser, 0)
    browser.execute_script(REFUSE_ONCE)
    browser.find_elements(By.CSS_SELECTOR, "#shop button")[3].click()
    clicks_known(browser, 1)
    assert browser.execute_script("return window.refused") == 2


def test_a_click_changes_the_recommendations_in_front_of_you(page, browser):
    browser.get(page)
    clicks_known(browser, 0)
    before = listed(browser)
    assert len(before) == 20
    browser.find_elements(By.CSS_SELECTOR, "#shop button")[3].click()
    clicks_known(browser, 1)
    after = listed(browser)
    assert after != before
    reasons = {node.text for node in browser.find_elements(By.CSS_SELECTOR, "#next .reason")}
    assert any(
        reason.startswith(("because you viewed", "often clicked after", "chosen by others")) for reason in reasons
    )
    # the keyboard alone goes on from there
    browser.find_element(By.CSS_SELECTOR, "#next button").send_keys(Keys.ENTER)
    clicks_known(browser, 2)
    assert listed(browser) != after
    known = {
        name: browser.find_element(By.ID, name).text for name in ("model", "latency", "stages", "state", "quality")
    }
    assert len(known["model"]) == 12
    assert "ms" in known["latency"]
    assert "ranker" in known["stages"]
    assert known["state"].startswith("2 clicks")
    assert known["quality"] == "full"
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    if os.environ.get(SCREENSHOT) and browser.execute_script("return window.innerWidth") > 1000:
        browser.save_screenshot(str(Path(os.environ[SCREENSHOT])))
    browser.find_element(By.ID, "again").click()
    clicks_known(browser, 0)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_click_by_keyboard_keeps_its_place_and_many_clicks_their_height(page, browser):
    browser.get(page)
    clicks_known(browser, 0)
    browser.find_elements(By.CSS_SELECTOR, "#next button")[2].send_keys(Keys.ENTER)
    clicks_known(browser, 1)
    place = "return [...document.querySelectorAll('#next button')].indexOf(document.activeElement)"
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(place) == 2)
    more = "const list = document.getElementById('clicks');"
    more += (
        "for (let n = 0; n < 200; n++) list.append(list.firstElementChild.cloneNode(true)); return list.offsetHeight"
    )
    assert browser.execute_script(more) <= 200


def test_everything_on_the_page_can_be_reached_and_is_named(page, browser):
    browser.get(page)
    clicks_known(browser, 0)
    for control in browser.find_elements(By.CSS_SELECTOR, "main button, main select"):
        if control.is_displayed():
            assert control.accessible_name
            assert control.size["height"] >= 40  # a finger's width
    select = browser.find_element(By.ID, "category")
    select.send_keys("Home/Light")
    # read in one step, as the cards are replaced meanwhile
    about = "return [...document.querySelectorAll('#shop .about')].map(node => node.textContent)"
    WebDriverWait(browser, 20).until(
        lambda b: (found := b.execute_script(about)) and all(text.startswith("Home/Light") for text in found)
    )
