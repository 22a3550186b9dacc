// SPDX-License-Identifier: BSD-3-Clause

//! Faults of the device, the connection and the peer: the form that they have in the settings.
//!
//! ```text
//! completion[:qp=Q]:WHEN:STATUS    event:EVENT[:WHEN]    async:EVENT[:WHEN]
//! peer-dies[:qp=Q]:WHEN            rnr[:qp=Q]:WHEN:DURATION
//! WHEN: N, the Nth one, or random:A/B, each one with that probability
//! ```

use std::fmt;
use std::str::{FromStr, Split};
use std::time::Duration;

use super::names::WC_STATUS;
use super::units::Span;
use super::{calls, names};

/// A fault of the device, the connection or the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FabricFault {
    /// What happens.
    pub kind: Kind,
    /// Only to this queue pair: its number in the order in which the process has made them, from 1.
    pub qp: Option<u64>,
    /// When it happens.
    pub when: When,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A work request completes with this status of `enum ibv_wc_status` in place of success.
    Completion(u8),
    /// A connection gets this event of the connection manager.
    Event(Event),
    /// The device has this asynchronous event.
    Async(Async),
    /// The peer dies after a request.
    PeerDies,
    /// The peer has no receive for a message, for so long.
    Rnr(Duration),
}

/// Events of the connection manager that can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer does not want the connection.
    Rejected,
    /// The peer does not answer.
    Unreachable,
    /// The peer has disconnected.
    Disconnected,
    /// The device is taken away.
    DeviceRemoval,
    /// The time after a connection is over, although nobody has disconnected.
    TimewaitExit,
}

/// Asynchronous events that can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Async {
    /// The port has no link.
    PortErr,
    /// The port has a link.
    PortActive,
    /// The device has failed.
    DeviceFatal,
    /// The queue pair has failed.
    QpFatal,
    /// A request of the peer was not valid.
    QpReqErr,
    /// A request of the peer was not permitted.
    QpAccessErr,
}

/// Which of those that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The Nth one; 1 is the first.
    Nth(u64),
    /// Each one with this probability: that many of so many.
    Random(u32, u32),
}

const EVENTS: [(Event, &str); 5] = [
    (Event::Rejected, "rejected"),
    (Event::Unreachable, "unreachable"),
    (Event::Disconnected, "disconnected"),
    (Event::DeviceRemoval, "device-removal"),
    (Event::TimewaitExit, "timewait-exit"),
];

const ASYNCS: [(Async, &str); 6] = [
    (Async::PortErr, "port-err"),
    (Async::PortActive, "port-active"),
    (Async::DeviceFatal, "device-fatal"),
    (Async::QpFatal, "qp-fatal"),
    (Async::QpReqErr, "qp-req-err"),
    (Async::QpAccessErr, "qp-access-err"),
];

/// Each kind with its form, and an example.
const FORMS: [(&str, &str, &str); 5] = [
    (
        "completion",
        "completion[:qp=Q]:WHEN:STATUS",
        "completion:3:WR_FLUSH_ERR",
    ),
    ("event", "event:EVENT[:WHEN]", "event:rejected:2"),
    ("async", "async:EVENT[:WHEN]", "async:port-err"),
    ("peer-dies", "peer-dies[:qp=Q]:WHEN", "peer-dies:100"),
    ("rnr", "rnr[:qp=Q]:WHEN:DURATION", "rnr:5:20ms"),
];

impl FabricFault {
    /// Whether the seed of random numbers matters.
    pub fn is_random(&self) -> bool {
        matches!(self.when, When::Random(..))
    }
}

impl FromStr for FabricFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let Some((_, form, example)) = FORMS.iter().find(|(kind, ..)| *kind == name) else {
            let kinds = FORMS.map(|(kind, ..)| kind);
            return Err(unknown(text, "kind of fault", name, &kinds));
        };
        let mut parts = Parts { parts, next: None };
        let failed = |why: Option<String>| match why {
            Some(why) => format!("'{text}': {why}"),
            None => format!("'{text}' is not of the form {form}, for example {example}"),
        };
        parse(name, &mut parts).map_err(failed)
    }
}

/// The parts between colons.
struct Parts<'a> {
    parts: Split<'a, char>,
    /// Looked at, and not taken.
    next: Option<&'a str>,
}

/// What is wrong with a part; nothing, if it is the number of parts.
type Wrong = Option<String>;

fn parse(kind: &str, parts: &mut Parts<'_>) -> Result<FabricFault, Wrong> {
    let fault = match kind {
        "completion" => FabricFault {
            qp: parts.qp()?,
            when: parts.when()?,
            kind: Kind::Completion(status(parts.take()?)?),
        },
        "peer-dies" => FabricFault {
            kind: Kind::PeerDies,
            qp: parts.qp()?,
            when: parts.when()?,
        },
        "rnr" => FabricFault {
            qp: parts.qp()?,
            when: parts.when()?,
            kind: Kind::Rnr(parts.take()?.parse().map(|Span(span)| span).map_err(Some)?),
        },
        "event" => FabricFault {
            kind: Kind::Event(named(parts.take()?, &EVENTS)?),
            qp: None,
            when: parts.when_or_first()?,
        },
        _ => FabricFault {
            kind: Kind::Async(named(parts.take()?, &ASYNCS)?),
            qp: None,
            when: parts.when_or_first()?,
        },
    };
    match parts.look() {
        None => Ok(fault),
        Some(_) => Err(None),
    }
}

impl<'a> Parts<'a> {
    fn look(&mut self) -> Option<&'a str> {
        self.next = self.next.or_else(|| self.parts.next());
        self.next
    }

    fn take(&mut self) -> Result<&'a str, Wrong> {
        self.look();
        self.next.take().ok_or(None)
    }

    fn qp(&mut self) -> Result<Option<u64>, Wrong> {
        let Some(number) = self.look().and_then(|part| part.strip_prefix("qp=")) else {
            return Ok(None);
        };
        self.next = None;
        nth(number, "queue pair").map(Some)
    }

    fn when(&mut self) -> Result<When, Wrong> {
        match self.take()? {
            "random" => self.take().and_then(probability),
            number => nth(number, "time").map(When::Nth),
        }
    }

    fn when_or_first(&mut self) -> Result<When, Wrong> {
        match self.look() {
            None => Ok(When::Nth(1)),
            Some(_) => self.when(),
        }
    }
}

fn nth(text: &str, of_what: &str) -> Result<u64, Wrong> {
    match text.parse() {
        Ok(nth) if nth > 0 => Ok(nth),
        _ => Err(Some(format!(
            "'{text}' is not the number of a {of_what} (1 is the first)"
        ))),
    }
}

fn probability(text: &str) -> Result<When, Wrong> {
    let parse = || {
        let (some, all) = text.split_once('/')?;
        let (some, all) = (some.parse().ok()?, all.parse().ok()?);
        (0 < some && some <= all).then_some(When::Random(some, all))
    };
    parse().ok_or_else(|| Some(format!("'{text}' is not a probability such as 1/100")))
}

/// The number of a status, with or without what all of their names begin with.
fn status(text: &str) -> Result<u8, Wrong> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("IBV_WC_").unwrap_or(&upper);
    let all: Vec<_> = WC_STATUS.iter().skip(1).map(|(_, name)| *name).collect();
    match WC_STATUS.iter().find(|(_, known)| *known == name) {
        Some((0, _)) => Err(Some("SUCCESS is no fault".into())),
        Some((number, _)) => Ok(*number as u8),
        None => Err(Some(not_one_of("status", name, &all))),
    }
}

fn named<T: Copy>(text: &str, all: &[(T, &'static str)]) -> Result<T, Wrong> {
    match all.iter().find(|(_, name)| *name == text) {
        Some((value, _)) => Ok(*value),
        None => {
            let names: Vec<_> = all.iter().map(|(_, name)| *name).collect();
            Err(Some(not_one_of("event", text, &names)))
        }
    }
}

fn unknown(text: &str, what: &str, name: &str, all: &[&str]) -> String {
    format!("'{text}': {}", not_one_of(what, name, all))
}

fn not_one_of(what: &str, name: &str, all: &[&str]) -> String {
    let similar = all
        .iter()
        .map(|known| (calls::distance(name, known), known))
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .min_by_key(|(distance, _)| *distance);
    match similar {
        Some((_, known)) => format!("unknown {what} '{name}'; did you mean {known}?"),
        None => format!("unknown {what} '{name}'; there are {}", all.join(", ")),
    }
}

impl fmt::Display for FabricFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let qp = self.qp.map(|qp| format!("qp={qp}:")).unwrap_or_default();
        let when = self.when;
        match self.kind {
            Kind::Completion(status) => {
                let status = names::OneOf(status.into(), WC_STATUS);
                write!(f, "completion:{qp}{when}:{status}")
            }
            Kind::PeerDies => write!(f, "peer-dies:{qp}{when}"),
            Kind::Rnr(pause) => write!(f, "rnr:{qp}{when}:{}", Span(pause)),
            Kind::Event(event) => write!(f, "event:{}:{when}", name_of(event, &EVENTS)),
            Kind::Async(event) => write!(f, "async:{}:{when}", name_of(event, &ASYNCS)),
        }
    }
}

fn name_of<T: PartialEq>(value: T, all: &[(T, &'static str)]) -> &'static str {
    let found = all.iter().find(|(known, _)| *known == value);
    found.map_or("", |(_, name)| name)
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nth(nth) => write!(f, "{nth}"),
            Self::Random(some, all) => write!(f, "random:{some}/{all}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<FabricFault, String> {
        text.parse()
    }

    #[test]
    fn faults_are_shown_as_they_are_written() {
        for text in [
            "completion:3:WR_FLUSH_ERR",
            "completion:qp=2:1:RNR_RETRY_EXC_ERR",
            "completion:random:1/100:RETRY_EXC_ERR",
            "completion:qp=1:random:1/2:GENERAL_ERR",
            "event:rejected:2",
            "event:unreachable:1",
            "event:disconnected:random:1/3",
            "event:device-removal:1",
            "event:timewait-exit:7",
            "async:port-err:1",
            "async:port-active:1",
            "async:device-fatal:1",
            "async:qp-fatal:2",
            "async:qp-req-err:2",
            "async:qp-access-err:2",
            "peer-dies:100",
            "peer-dies:qp=2:random:1/1000",
            "rnr:5:20ms",
            "rnr:qp=1:random:1/10:1500us",
        ] {
            assert_eq!(parsed(text).map(|fault| fault.to_string()), Ok(text.into()));
        }
        let shown = |text| parsed(text).map(|fault| fault.to_string());
        assert_eq!(shown("async:port-err"), Ok("async:port-err:1".into()));
        assert_eq!(
            shown("completion:1:ibv_wc_general_err"),
            Ok("completion:1:GENERAL_ERR".into())
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("", "unknown kind of fault ''"),
            ("complete:1:GENERAL_ERR", "did you mean completion?"),
            ("completion", "of the form completion[:qp=Q]:WHEN:STATUS"),
            ("completion:1", "of the form"),
            ("completion:1:GENERAL_ERR:x", "of the form"),
            ("completion:0:GENERAL_ERR", "1 is the first"),
            (
                "completion:x:GENERAL_ERR",
                "'x' is not the number of a time",
            ),
            (
                "completion:qp=0:1:GENERAL_ERR",
                "'0' is not the number of a queue pair",
            ),
            ("completion:1:WR_FLSH_ERR", "did you mean WR_FLUSH_ERR?"),
            ("completion:1:what", "there are LOC_LEN_ERR,"),
            ("completion:1:SUCCESS", "SUCCESS is no fault"),
            ("completion:random:GENERAL_ERR", "is not a probability"),
            (
                "completion:random:2/1:GENERAL_ERR",
                "'2/1' is not a probability",
            ),
            ("completion:random:0/1:GENERAL_ERR", "is not a probability"),
            ("event", "of the form event:EVENT[:WHEN]"),
            ("event:refused", "there are rejected, unreachable,"),
            ("event:rejected:-1", "1 is the first"),
            ("event:qp=1:rejected", "unknown event"),
            ("async:port-error", "did you mean port-err?"),
            ("peer-dies", "of the form peer-dies[:qp=Q]:WHEN"),
            ("rnr:1", "of the form rnr[:qp=Q]:WHEN:DURATION"),
            ("rnr:1:20", "'20' is not a duration"),
        ] {
            let problem = parsed(text).map(|fault| fault.to_string());
            assert!(
                problem.as_ref().is_err_and(|problem| problem.contains(why)),
                "{text}: {problem:?}"
            );
        }
    }
}
