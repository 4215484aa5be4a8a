//! A Chromium of a test's own, without a window: opens a page, asks it, looks at it. It is spoken to by the `DevTools` protocol over two
//! named pipes: one JSON message each, ended by a zero byte.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::wait::{TimedOut, wait_for};

/// Where Debian puts it.
const PROGRAM: &str = "/usr/bin/chromium";

/// It opens the pipes as the shell hands them to it: 3 to read, 4 to write.
const SCRIPT: &str = "exec \"$0\" \"$@\" 3<\"$PIPE_IN\" 4>\"$PIPE_OUT\"";

/// A running Chromium with one page; it ends with this.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: File,
    answers: BufReader<File>,
    session: Option<String>,
    sent: u64,
}

/// Whether pages are told that a person likes them light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

// === impl Browser ===

impl Browser {
    /// Starts one with all its files under `directory`, and opens `url`. It blocks: a test calls it from a thread that may.
    pub fn open(directory: &Path, url: &str) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let [input, output] = ["in", "out"].map(|name| directory.join(name));
        let made = Command::new("mkfifo").args([&input, &output]).status()?;
        if !made.success() {
            return Err(io::Error::other(format!("mkfifo: {made}")));
        }
        let child = Command::new("sh")
            .args([
                "-c",
                SCRIPT,
                PROGRAM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-pipe",
            ])
            .args(["--window-size=1100,900", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", directory.join("profile").display()))
            .arg("about:blank")
            .env("PIPE_IN", &input)
            .env("PIPE_OUT", &output)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("chromium.log"))?)
            .spawn()?;
        // Each of these waits for the shell to open the other end, in this order.
        let commands = OpenOptions::new().write(true).open(&input)?;
        let answers = BufReader::new(File::open(&output)?);
        let mut browser = Self {
            child,
            commands,
            answers,
            session: None,
            sent: 0,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": url }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach)?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        Ok(browser)
    }

    /// What an expression of JavaScript gives on the page, as JSON.
    pub fn ask(&mut self, expression: &str) -> io::Result<Value> {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &asked)?;
        if answer["exceptionDetails"].is_null() {
            Ok(answer["result"]["value"].take())
        } else {
            Err(io::Error::other(format!(
                "{expression}: {}",
                answer["exceptionDetails"]
            )))
        }
    }

    /// Waits until the text of the page has these words, and gives the text.
    pub async fn shows(&mut self, words: &str, limit: Duration) -> Result<String, TimedOut> {
        let page = std::sync::Mutex::new(self);
        wait_for(&format!("the page to show {words:?}"), limit, || async {
            let mut page = page.lock().map_err(|error| error.to_string())?;
            let text = page.ask("document.body.innerText").map_err(|error| error.to_string())?;
            let text = text.as_str().unwrap_or_default().to_owned();
            if text.contains(words) {
                Ok(text)
            } else {
                Err(format!("it shows {text:?}"))
            }
        })
        .await
    }

    /// Tells the page what its reader likes.
    pub fn prefer(&mut self, scheme: Scheme) -> io::Result<()> {
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.call("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// Sends a command, and waits for its answer; what the browser tells by itself is passed over.
    fn call(&mut self, method: &str, params: &Value) -> io::Result<Value> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut line = message.to_string().into_bytes();
        line.push(0);
        self.commands.write_all(&line)?;
        loop {
            let mut line = Vec::new();
            if self.answers.read_until(0, &mut line)? == 0 {
                return Err(io::Error::other(format!(
                    "Chromium has ended before it answered {method}"
                )));
            }
            line.pop();
            let mut answer: Value = serde_json::from_slice(&line)?;
            if answer["id"] == self.sent {
                let error = &answer["error"];
                if !error.is_null() {
                    return Err(io::Error::other(format!("{method}: {error}")));
                }
                return Ok(answer["result"].take());
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
