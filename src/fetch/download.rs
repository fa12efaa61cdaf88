//! One file over HTTP, taken up where it broke off.
//!
//! The hub answers `…/resolve/…` with a redirect to its storage and, on the redirect itself, `X-Linked-ETag`: for large
//! files their SHA-256. So redirects are followed here, one by one. Without such a header the server's own `ETag` tells
//! whether a file that broke off is still the same; without either it is begun anew.

use crate::{Error, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

/// Connections that may break one after the other without a byte in between.
const PATIENCE: usize = 4;
const REDIRECTS: usize = 6;
const STALLED: Duration = Duration::from_secs(60);

/// A download and what the server says of its file.
pub(super) struct Transfer {
    agent: Agent,
    url: String,
    /// The tag under which the bytes at hand were fetched.
    tag: Option<String>,
    digest: Option<String>,
}

/// A response to a request from some byte on.
struct Answer {
    response: Response<Body>,
    tag: Option<String>,
}

impl Transfer {
    /// A download of `url`; `tag` is that of the bytes that are there already.
    pub(super) fn new(url: String, tag: Option<String>) -> Self {
        let agent = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(STALLED))
            .timeout_per_read(Some(STALLED))
            .user_agent(concat!("ascribe/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let digest = None;
        Self {
            agent,
            url,
            tag,
            digest,
        }
    }

    /// The SHA-256 that the hub gave, if it did.
    pub(super) fn digest(&self) -> Option<String> {
        self.digest.clone()
    }

    /// Downloads until `file` is whole and returns its size. `tagged` is told the server's tag, or that it gives none,
    /// before the first byte is written.
    pub(super) fn run(
        &mut self,
        file: &mut File,
        target: &Path,
        tagged: &mut dyn FnMut(Option<&str>) -> Result<()>,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<u64> {
        let refuse = || Error::io(target, "write");
        let mut done = file.seek(SeekFrom::End(0)).map_err(refuse())?;
        let mut failures = 0;
        loop {
            let before = done;
            let wanted = if self.tag.is_some() { done } else { 0 };
            let broken = match self.ask(wanted) {
                Ok(answer) => {
                    let status = answer.response.status();
                    let total = total(&answer.response);
                    let same = answer.tag.is_some() && answer.tag == self.tag;
                    if status == StatusCode::RANGE_NOT_SATISFIABLE && same && total == Some(done) {
                        return Ok(done);
                    }
                    let from = first_byte(&answer.response);
                    if from > 0 && !(same && from == done) || from > done || !status.is_success() {
                        // The rest of another file than the one that was begun.
                        self.tag = None;
                        done = 0;
                        "the file has changed on the server".to_owned()
                    } else {
                        done = from;
                        file.set_len(done).map_err(refuse())?;
                        file.seek(SeekFrom::Start(done)).map_err(refuse())?;
                        self.tag.clone_from(&answer.tag);
                        tagged(self.tag.as_deref())?;
                        let reader = answer.response.into_body().into_reader();
                        let end =
                            copy(reader, file, &mut done, total, progress).map_err(refuse())?;
                        match (end, total) {
                            (None, None) => return Ok(done),
                            (None, Some(total)) if done == total => return Ok(done),
                            (None, _) => "the connection was closed".into(),
                            (Some(reason), _) => reason,
                        }
                    }
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Nobody(reason)) if done == 0 => {
                    return Err(self.unreachable(reason, done));
                }
                Err(Failure::Nobody(reason)) => reason.to_owned(),
                Err(Failure::Passing(reason)) => reason,
            };
            failures = if done > before { 0 } else { failures + 1 };
            if failures > PATIENCE {
                return Err(self.unreachable(&broken, done));
            }
            std::thread::sleep(Duration::from_millis(50 << failures));
        }
    }

    fn unreachable(&self, reason: &str, done: u64) -> Error {
        let kept = match (done, &self.tag) {
            (0, _) | (_, None) => String::new(),
            _ => format!("; {done} bytes are kept and the next fetch goes on from there"),
        };
        Error::Network {
            url: self.url.clone(),
            reason: reason.replace('\n', " "),
            remedy: format!("check the network, or set HF_ENDPOINT to a mirror{kept}"),
        }
    }

    /// Asks for the file from byte `from` on, following redirects.
    fn ask(&mut self, from: u64) -> std::result::Result<Answer, Failure> {
        let (mut url, mut tag) = (self.url.clone(), None);
        for _ in 0..REDIRECTS {
            let mut request = self.agent.get(&url).header("Accept-Encoding", "identity");
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|error| self.failure(&error))?;
            let header = |name: &str| {
                let text = response.headers().get(name)?.to_str().ok()?;
                Some(text.trim_start_matches("W/").trim_matches('"').to_owned())
            };
            if let Some(linked) = header("x-linked-etag") {
                let digest = linked.len() == 64 && linked.bytes().all(|b| b.is_ascii_hexdigit());
                self.digest = digest.then(|| linked.to_lowercase());
                tag = Some(linked);
            }
            let status = response.status();
            match header("location").filter(|_| status.is_redirection()) {
                Some(location) => {
                    url = joined(&url, &location).map_err(|why| self.refusal(&why))?
                }
                None if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE => {
                    let tag = tag.or_else(|| header("etag"));
                    return Ok(Answer { response, tag });
                }
                None if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                    return Err(Failure::Passing(format!("the server answered {status}")));
                }
                None => return Err(self.refusal(&format!("the server answered {status}"))),
            }
        }
        Err(self.refusal("too many redirects"))
    }

    /// What asking again would not change.
    fn refusal(&self, reason: &str) -> Failure {
        Failure::Final(Error::Network {
            url: self.url.clone(),
            reason: reason.to_owned(),
            remedy: "the registry or HF_ENDPOINT may be out of date: look for the file there with a browser".into(),
        })
    }

    fn failure(&self, error: &ureq::Error) -> Failure {
        match error {
            ureq::Error::HostNotFound => Failure::Nobody("no such host is known"),
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Failure::Nobody("the connection was refused")
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
                self.refusal(&error.to_string())
            }
            other => Failure::Passing(other.to_string()),
        }
    }
}

enum Failure {
    /// Worth another try.
    Passing(String),
    /// Nobody answers, which is worth another try where somebody did before.
    Nobody(&'static str),
    Final(Error),
}

/// Copies until the end; `Some` is why the connection broke.
fn copy(
    mut reader: impl Read,
    file: &mut File,
    done: &mut u64,
    total: Option<u64>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> std::io::Result<Option<String>> {
    let mut piece = vec![0; 1 << 16];
    loop {
        let length = match reader.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(length) => length,
            Err(error) => return Ok(Some(error.to_string())),
        };
        file.write_all(&piece[..length])?;
        *done += length as u64;
        progress(*done, total);
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The file's size: after the slash of Content-Range, or the length of a whole response.
fn total(response: &Response<Body>) -> Option<u64> {
    match header(response, "content-range") {
        Some(range) => range.rsplit('/').next()?.parse().ok(),
        None => header(response, "content-length")?.parse().ok(),
    }
}

/// Where the response begins in the file.
fn first_byte(response: &Response<Body>) -> u64 {
    let range = header(response, "content-range")
        .filter(|_| response.status() == StatusCode::PARTIAL_CONTENT);
    let first = range.and_then(|range| {
        range
            .strip_prefix("bytes ")?
            .split('-')
            .next()?
            .parse()
            .ok()
    });
    first.unwrap_or(0)
}

/// A redirect's target, which may be a path on the same server.
fn joined(url: &str, location: &str) -> std::result::Result<String, String> {
    if location.starts_with("https://")
        || location.starts_with("http://") && url.starts_with("http://")
    {
        return Ok(location.to_owned());
    }
    let uri: Uri = url.parse().map_err(|_| format!("{url} is no address"))?;
    match (
        uri.scheme_str(),
        uri.authority(),
        location.strip_prefix('/'),
    ) {
        (Some(scheme), Some(authority), Some(path)) => Ok(format!("{scheme}://{authority}/{path}")),
        _ => Err(format!(
            "the server redirects to {location}, which is not followed"
        )),
    }
}

/// Where [`crate::artefact::AtomicFile`] keeps what is not whole.
pub(super) fn partial_path(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.recorded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "https://hub.example/a/resolve/main/b";
    const MIRROR: &str = "http://127.0.0.1:8080/a/resolve/main/b";

    #[test]
    fn redirects_are_followed_on_the_server_and_to_others() {
        let followed = [
            (HUB, "https://store.example/c", "https://store.example/c"),
            (HUB, "/c/d?e=f", "https://hub.example/c/d?e=f"),
            (MIRROR, "/c", "http://127.0.0.1:8080/c"),
            (MIRROR, "http://store.example/c", "http://store.example/c"),
            (MIRROR, "https://store.example/c", "https://store.example/c"),
        ];
        for (url, location, expected) in followed {
            assert_eq!(joined(url, location).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn no_redirect_leads_from_an_encrypted_connection_to_one_that_is_not() {
        for (url, location) in [
            (HUB, "http://hub.example/c"),
            (HUB, "c"),
            (HUB, "ftp://hub.example/c"),
            (MIRROR, "file:///c"),
            (MIRROR, ""),
        ] {
            let refused = joined(url, location).unwrap_err();
            let expected = format!("redirects to {location}, which is not followed");
            assert!(refused.contains(&expected), "{refused}");
        }
    }
}
