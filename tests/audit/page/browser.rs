//! A browser with the audit's page.

use super::driver::Driver;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// One page at a time: what it takes is measured without another beside it.
static ALONE: Mutex<()> = Mutex::new(());
/// The browser of the last test: the next ones, which wait for that, go on with it.
static LAST: Mutex<Weak<Driver>> = Mutex::new(Weak::new());

/// A browser with one page, in a tab of its own.
pub struct Browser {
    driver: Arc<Driver>,
    _alone: MutexGuard<'static, ()>,
}

impl Browser {
    /// A new tab of 1280 × 900, with nothing from others; `None`, with the reason printed, where Chromium is not installed.
    pub fn start() -> Option<Self> {
        let _kept = last().upgrade();
        // A test that failed before this one leaves nothing behind.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let driver = match last().upgrade() {
            Some(driver) => driver,
            None => match Driver::start() {
                Some(driver) => Arc::new(driver),
                None => {
                    let may_skip = std::env::var_os("ASCRIBE_NO_SKIP").is_none();
                    assert!(may_skip, "chromedriver is not installed");
                    println!("skipped: chromedriver is not installed");
                    return None;
                }
            },
        };
        *last() = Arc::downgrade(&driver);
        let browser = Self {
            driver,
            _alone: alone,
        };
        browser.begin_anew();
        Some(browser)
    }

    /// Leaves the tab for a new one, and what was stored, downloaded and logged.
    fn begin_anew(&self) {
        let opened = self.command("POST", "/window/new", json!({ "type": "tab" }));
        self.command("DELETE", "/window", Value::Null);
        self.command("POST", "/window", json!({ "handle": opened["handle"] }));
        let stored = json!({ "origin": "file://", "storageTypes": "all" });
        self.devtools("Storage.clearDataForOrigin", &stored);
        for entry in std::fs::read_dir(self.driver.downloads()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        self.console();
        self.network();
    }

    /// What the browser saves under that name. Chromium first takes the name with an empty file, writes to another beside it,
    /// and moves that there when it is whole.
    pub fn downloaded(&self, name: &str) -> String {
        let file = self.driver.downloads().join(name);
        let began = Instant::now();
        loop {
            match std::fs::read_to_string(&file) {
                Ok(text) if !text.is_empty() => return text,
                _ => assert!(
                    began.elapsed() < Duration::from_secs(20),
                    "{name} was not saved"
                ),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Opens a file and waits until the page has shown its first view; the seconds that took.
    pub fn open(&self, file: &Path, hash: &str) -> f64 {
        let began = Instant::now();
        let address = format!("file://{}{hash}", file.canonicalize().unwrap().display());
        self.command("POST", "/url", json!({ "url": address }));
        self.wait("return document.querySelector('main h1') !== null");
        began.elapsed().as_secs_f64()
    }

    /// What a function body returns in the page.
    pub fn run(&self, script: &str) -> Value {
        self.command(
            "POST",
            "/execute/sync",
            json!({ "script": script, "args": [] }),
        )
    }

    /// What a text is in the page; panics where it is none.
    pub fn text(&self, script: &str) -> String {
        let value = self.run(script);
        value
            .as_str()
            .unwrap_or_else(|| panic!("{script}: {value}"))
            .to_owned()
    }

    /// Waits until a function body returns true.
    pub fn wait(&self, script: &str) {
        let began = Instant::now();
        while self.run(script) != Value::Bool(true) {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{script} did not come true"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Goes to a view of the page; the seconds until its heading holds `heading`.
    pub fn visit(&self, hash: &str, heading: &str) -> f64 {
        let script = format!(
            "const done = arguments[arguments.length - 1], began = performance.now();
             location.hash = {hash:?};
             const look = () => document.querySelector('main').dataset.shown === {hash:?}
                && document.querySelector('main h1').textContent.includes({heading:?})
                ? done(performance.now() - began) : requestAnimationFrame(look);
             look();"
        );
        let body = json!({ "script": script, "args": [] });
        self.command("POST", "/execute/async", body)
            .as_f64()
            .unwrap_or_else(|| panic!("{hash}"))
            / 1000.0
    }

    /// A command of Chromium's devtools protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.command("POST", "/goog/cdp/execute", body);
    }

    /// Shows the page as on a screen of that size.
    pub fn resize(&self, width: u32, height: u32) {
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// Presses and releases a key: a character, or one of WebDriver's code points.
    pub fn press(&self, key: char) {
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": [
            { "type": "keyDown", "value": key.to_string() }, { "type": "keyUp", "value": key.to_string() },
        ] }] });
        self.command("POST", "/actions", actions);
    }

    /// Clicks the first element that fits a CSS selector, as a hand would.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("/element/{element}/click"), json!({}));
    }

    /// Types into an element; a path into a file field.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command(
            "POST",
            &format!("/element/{element}/value"),
            json!({ "text": text }),
        );
    }

    fn element(&self, selector: &str) -> String {
        let body = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "/element", body);
        found
            .as_object()
            .and_then(|ids| ids.values().next())
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{selector}: {found}"))
            .to_owned()
    }

    /// Messages of the console since the last call.
    pub fn console(&self) -> Vec<String> {
        self.log("browser")
            .iter()
            .map(|entry| entry["message"].to_string())
            .collect()
    }

    /// Addresses asked for since the last call that are not files or data.
    pub fn network(&self) -> Vec<String> {
        let sent = self.log("performance").into_iter().filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            (message["method"] == "Network.requestWillBeSent").then(|| {
                message["params"]["request"]["url"]
                    .as_str()
                    .map(str::to_owned)
            })?
        });
        sent.filter(|url| {
            !["file:", "data:", "blob:", "about:", "chrome:"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
        })
        .collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.command("POST", "/se/log", json!({ "type": kind }));
        entries.as_array().cloned().unwrap_or_default()
    }

    fn command(&self, method: &str, path: &str, body: Value) -> Value {
        self.driver.command(method, path, body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The page may be anywhere.
        if std::thread::panicking() {
            *last() = Weak::new();
        }
    }
}

fn last() -> MutexGuard<'static, Weak<Driver>> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}
