//! Chromium without a window behind chromedriver's WebDriver protocol: JSON over a loopback connection.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A browser with its profile; both end with the value.
pub struct Driver {
    process: Child,
    port: u16,
    session: String,
    profile: tempfile::TempDir,
}

impl Driver {
    /// Starts Chromium; `None` where chromedriver is not installed.
    pub fn start() -> Option<Self> {
        let (process, port) = listening_driver()?;
        let mut driver = Self {
            process,
            port,
            session: String::new(),
            profile: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(driver.downloads()).unwrap();
        let profile = driver.profile.path().join("profile");
        let arguments = [
            "--headless=new".into(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--disable-dev-shm-usage".into(),
            "--window-size=1280,900".into(),
            format!("--user-data-dir={}", profile.display()),
        ];
        let options = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": { "download.default_directory": driver.downloads() },
            },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let answer = driver.call("POST", "/session", &options);
        driver.session = answer["sessionId"].as_str().unwrap().to_owned();
        Some(driver)
    }

    /// Where files go that are downloaded.
    pub fn downloads(&self) -> PathBuf {
        self.profile.path().join("downloads")
    }

    /// Sends a command of the session.
    pub fn command(&self, method: &str, path: &str, body: Value) -> Value {
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

impl Drop for Driver {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.command("DELETE", "", Value::Null);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Chromedriver and its port; `None` where it is not installed. It takes a port that is free in one family of addresses, and ends where
/// that is taken in the other.
fn listening_driver() -> Option<(Child, u16)> {
    for _ in 0..10 {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        if let Some(port) = announced_port(&mut driver) {
            return Some((driver, port));
        }
        driver.wait().unwrap();
    }
    panic!("chromedriver ended ten times before it listened")
}

/// Chromedriver says which port it took.
fn announced_port(driver: &mut Child) -> Option<u16> {
    let mut lines = BufReader::new(driver.stdout.take()?).lines();
    lines.find_map(|line| {
        let line = line.ok()?;
        let (_, port) = line.split_once("successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    })
}
