"""A headless Chromium that looks at a node's dashboard, as an operator would."""
import base64
import os
import pathlib
import shutil
import tempfile

from .util import STRETCH, wait_until

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
except ImportError:
    webdriver = None


def missing():
    """What is not there that a browser needs; None: it can run."""
    if webdriver is None:
        return "python3-selenium is not installed"
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return None


class Browser:
    def __init__(self, *names):
        """Each (name, port) is 127.0.0.1's for it, as DNS round robin would have it."""
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        self.profile = tempfile.mkdtemp(prefix="tp-chromium-")
        rules = ",".join(f"MAP {name} 127.0.0.1" for name in names)
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
                         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
                         "--ignore-certificate-errors", f"--host-resolver-rules={rules}",
                         f"--user-data-dir={self.profile}", "--window-size=1400,1000"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.set_page_load_timeout(60)
        self.driver.set_script_timeout(60)
        where = os.environ.get("TURNPIKE_SCREENSHOTS")
        self.shots = pathlib.Path(where) if where else None

    def close(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    def open(self, url):
        self.driver.get(url)

    def size(self, width, height):
        """Of the page: a window cannot be as small as a telephone."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def emulate(self, scheme):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                    {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def shot(self, name):
        """Kept where TURNPIKE_SCREENSHOTS says, of the whole page."""
        if self.shots is None:
            return
        self.shots.mkdir(parents=True, exist_ok=True)
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        (self.shots / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    # ---- what is there

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self):
        return self.driver.execute_script("return document.body.innerText")

    def shows(self, words, timeout=30):
        return wait_until(f"the page shows {words!r}", lambda: words in self.text(), timeout * STRETCH)

    def no_more(self, words, timeout=30):
        wait_until(f"the page no longer shows {words!r}", lambda: words not in self.text(), timeout * STRETCH)

    def one(self, css, words=None):
        """The element, once it is there: the one with these words. It may be gone a moment later: the page is drawn again
        every few seconds."""
        def look():
            try:
                return next((e for e in self.all(css) if e.is_displayed() and (words is None or e.text.strip() == words)), None)
            except StaleElementReferenceException:
                return None
        return wait_until(f"{css} {words or ''}", look, 30 * STRETCH)

    def done(self, what, fn):
        """Anew, if the page was drawn anew meanwhile."""
        def once():
            try:
                fn()
                return True
            except (ElementClickInterceptedException, StaleElementReferenceException):
                return False
        wait_until(what, once, 30 * STRETCH)

    # ---- what an operator does

    def press(self, css, words=None):
        self.done(f"{css} {words or ''} is pressed", lambda: self.one(css, words).click())

    def type(self, css, text):
        def fill():
            field = self.one(css)
            field.clear()
            field.send_keys(text)
        self.done(f"{css} is filled in", fill)

    def keys(self, text):
        self.driver.find_element(By.TAG_NAME, "body").send_keys(text)

    def enter(self):
        self.driver.switch_to.active_element.send_keys(Keys.ENTER)

    def log_in(self, name, password):
        self.one("#login-password")
        self.type("#login-name", name)
        self.type("#login-password", password)
        self.press("#login-form button")

    def go(self, view):
        self.press("#nav a", view)

    # ---- what was wrong

    def complaints(self):
        """What the browser says of the pages, but for refusals that a test provokes."""
        return [e["message"] for e in self.driver.get_log("browser") if "Failed to load resource" not in e["message"]]
