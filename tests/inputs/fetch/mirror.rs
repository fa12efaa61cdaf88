//! A hub on loopback: redirects, ranges, tags, and connections that break.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A file as the mirror serves it.
#[derive(Clone, Default)]
pub(crate) struct Served {
    pub(crate) content: Vec<u8>,
    /// What the redirect says of the file.
    pub(crate) linked: Option<String>,
    /// What the storage says of it.
    pub(crate) etag: Option<String>,
    /// Bodies break off after so many bytes, one request after the other; the rest are whole.
    pub(crate) cuts: Vec<usize>,
    /// Answers a range with the whole file.
    pub(crate) no_ranges: bool,
    /// Status codes that the storage answers with in place of the file, one request after the other.
    pub(crate) refusals: Vec<u16>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Served>,
    /// Paths and ranges that were asked for at the storage.
    asked: Vec<(String, Option<String>)>,
}

pub(crate) struct Mirror {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

impl Mirror {
    pub(crate) fn start() -> Self {
        Self::start_for(usize::MAX)
    }

    /// One that is gone after so many connections.
    pub(crate) fn start_for(connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().take(connections).flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    // A client that hangs up is none of the mirror's business.
                    let _ = answer(&stream, &shared);
                });
            }
        });
        Self { address, state }
    }

    pub(crate) fn serve(&self, path: &str, file: Served) {
        self.state
            .lock()
            .unwrap()
            .files
            .insert(path.to_owned(), file);
    }

    /// Ranges asked for since the last call, in order; `None` is the whole file.
    pub(crate) fn ranges(&self) -> Vec<Option<String>> {
        let asked = std::mem::take(&mut self.state.lock().unwrap().asked);
        asked.into_iter().map(|(_, range)| range).collect()
    }
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut range = None;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("range: ") {
            range = Some(value.to_owned());
        }
    }
    let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let close = "Connection: close\r\n\r\n";
    // The storage behind the hub.
    let Some(stored) = path.strip_prefix("/storage") else {
        let file = state.lock().unwrap().files.get(&path).cloned();
        let Some(file) = file else {
            return write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{close}"
            );
        };
        let linked = file
            .linked
            .map_or_else(String::new, |tag| format!("X-Linked-ETag: \"{tag}\"\r\n"));
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: /storage{path}\r\n{linked}Content-Length: 0\r\n{close}"
        );
    };
    let (file, cut, refusal) = {
        let mut state = state.lock().unwrap();
        state.asked.push((stored.to_owned(), range.clone()));
        let file = state.files.get_mut(stored).unwrap();
        let cut = (!file.cuts.is_empty()).then(|| file.cuts.remove(0));
        let refusal = (!file.refusals.is_empty()).then(|| file.refusals.remove(0));
        (file.clone(), cut, refusal)
    };
    if let Some(status) = refusal {
        return write!(
            stream,
            "HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\n{close}"
        );
    }
    let size = file.content.len();
    let from = range.filter(|_| !file.no_ranges);
    let from = from.and_then(|it| {
        it.strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    let etag = file
        .etag
        .map_or_else(String::new, |tag| format!("ETag: \"{tag}\"\r\n"));
    let body = &file.content[from.unwrap_or(0).min(size)..];
    match from {
        Some(from) if from >= size => {
            return write!(
                stream,
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\n{etag}Content-Length: 0\r\n{close}"
            );
        }
        Some(from) => write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}\r\n{etag}Content-Length: {}\r\n{close}",
            size - 1,
            body.len()
        )?,
        None => write!(
            stream,
            "HTTP/1.1 200 OK\r\n{etag}Content-Length: {size}\r\n{close}"
        )?,
    }
    stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())])
}
