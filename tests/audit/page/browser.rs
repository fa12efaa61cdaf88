//! Chromium without a window, driven through chromedriver's WebDriver protocol: JSON over a loopback connection.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One browser at a time: what a page takes is measured without another beside it.
static ALONE: Mutex<()> = Mutex::new(());

/// A browser with one page; it ends with the value.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Browser {
    /// Starts Chromium with a window of that size; `None`, with the reason printed, where it is not installed.
    pub fn start(width: u32, height: u32) -> Option<Self> {
        // A test that failed before this one leaves nothing behind.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let spawned = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = spawned else {
            let may_skip = std::env::var_os("ASCRIBE_NO_SKIP").is_none();
            assert!(may_skip, "chromedriver is not installed");
            println!("skipped: chromedriver is not installed");
            return None;
        };
        let port = announced_port(&mut driver);
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
            _profile: profile,
            _alone: alone,
        };
        let downloads = browser.downloads();
        std::fs::create_dir_all(&downloads).unwrap();
        let arguments = [
            "--headless=new".into(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--disable-dev-shm-usage".into(),
            format!("--window-size={width},{height}"),
            format!(
                "--user-data-dir={}",
                browser._profile.path().join("profile").display()
            ),
        ];
        let options = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": { "download.default_directory": downloads },
            },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let answer = browser.call("POST", "/session", &options);
        browser.session = answer["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    fn downloads(&self) -> std::path::PathBuf {
        self._profile.path().join("downloads")
    }

    /// What the browser saves under that name. Chromium first takes the name with an empty file, writes to another beside it,
    /// and moves that there when it is whole.
    pub fn downloaded(&self, name: &str) -> String {
        let file = self.downloads().join(name);
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
        self.call(method, &format!("/session/{}{path}", self.session), &body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
        let mut answer = BufReader::new(stream);
        let mut length = None;
        let mut line = String::new();
        while answer.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse::<usize>().ok();
            }
            line.clear();
        }
        let mut bytes = vec![0; length.expect("chromedriver gives a length")];
        answer.read_exact(&mut bytes).unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let value = value["value"].clone();
        assert!(value.get("error").is_none(), "{path}: {value}");
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.command("DELETE", "", Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Chromedriver says which port it took.
fn announced_port(driver: &mut Child) -> u16 {
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines.map_while(Result::ok).find_map(|line| {
        line.split_once("successfully on port ")?
            .1
            .trim_end_matches('.')
            .parse()
            .ok()
    });
    port.expect("chromedriver announces its port")
}
