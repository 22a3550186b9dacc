// SPDX-License-Identifier: BSD-3-Clause

//! Connections that share a socket and memory, with both ends in this process.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::local::{Local, connect};
use super::memory::Span;
use super::pair::{Pair, Received, TidyAgain};
use crate::wire::{KNOCK, Knock};

fn doorbells(pair: &Pair) -> Vec<u32> {
    let mut all = Vec::new();
    while let Received::Doorbell(number) = pair.receive().unwrap() {
        all.push(number);
    }
    all
}

fn doorbells_until_the_end(pair: &Pair) -> Vec<u32> {
    let mut all = Vec::new();
    while let Ok(Received::Doorbell(number)) = pair.receive() {
        all.push(number);
    }
    assert!(pair.receive().is_err());
    all
}

#[test]
fn connections_share_a_socket_and_memory_files() {
    let (client, server) = Pair::of_this_process().unwrap();
    let mut ends: Vec<_> = (0..20)
        .map(|_| connect(&client, &server).unwrap())
        .collect();
    for (number, (at_client, at_server)) in ends.iter_mut().enumerate() {
        let bytes = [number as u8; 10];
        at_client
            .send(Span::from_slice(&bytes), Span::NONE)
            .unwrap();
        let mut received = [0; 20];
        let n = at_server.receive(Span::NONE, Span::from_mut(&mut received));
        assert_eq!(&received[..n.unwrap()], bytes);
        assert!(!at_server.sleep());
    }
    let mut sends = |at: usize| {
        let byte = Span::from_slice(&[1]);
        assert_eq!(ends[at].0.send(byte, Span::NONE), Ok(1));
    };
    sends(7);
    sends(3);
    assert_eq!(doorbells(&server), [7, 3]);
}

#[test]
fn a_slot_is_used_again_when_both_sides_have_left_it() {
    let (client, server) = Pair::of_this_process().unwrap();
    let number = |ends: &(Local, Local)| ends.0.number();
    let one = connect(&client, &server).unwrap();
    let (at_client, at_server) = connect(&client, &server).unwrap();
    drop(at_client);
    assert_eq!(number(&connect(&client, &server).unwrap()), 2);
    drop(at_server);
    // Whoever left first has told the other one.
    assert_eq!(doorbells(&client), []);
    let again: Vec<_> = (0..2).map(|_| connect(&client, &server).unwrap()).collect();
    assert!(again.iter().any(|ends| number(ends) == 1));
    assert_eq!(number(&one), 0);
}

#[test]
fn doorbells_wait_for_room_in_the_socket_once_each() {
    let (client, server) = Pair::of_this_process().unwrap();
    let troubles = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&troubles);
    client.on_trouble(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let ends: Vec<_> = (0..4).map(|_| connect(&client, &server).unwrap()).collect();
    let mut sent = 0;
    while !client.has_unsent() {
        client.ring(1);
        sent += 1;
    }
    for number in [3, 1, 2, 3, 2] {
        client.ring(number);
    }
    assert_eq!(troubles.load(Ordering::Relaxed), 1);
    assert_eq!(doorbells(&server), vec![1; sent - 1]);
    assert_eq!(client.go_on_sending(), Ok(true));
    assert_eq!(doorbells(&server), [1, 2, 3]);
    assert!(!client.has_unsent());
    drop(ends);
}

#[test]
fn what_is_no_message_fails() {
    let (client, server) = Pair::of_this_process().unwrap();
    let (at_client, _at_server) = connect(&client, &server).unwrap();
    let zeros = std::fs::File::open("/dev/zero").unwrap().into();
    let ends = |server: &Pair| server.receive().is_err();
    for bytes in [&[0; 5][..], &[0; KNOCK], &[0; KNOCK + 1]] {
        client.socket().send(&[Span::from_slice(bytes)]).unwrap();
        assert!(ends(&server));
    }
    // What is no table of regions is none, and does not come twice.
    let send_zeros = || client.socket().send_with_descriptor(&[0; 4], &zeros);
    send_zeros().unwrap();
    assert!(matches!(server.receive(), Ok(Received::Table)));
    assert!(server.reach().is_none());
    send_zeros().unwrap();
    assert!(ends(&server));
    // A server makes no memory, and brings no connection.
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let knock = Knock {
        word: [0; 16],
        ends: crate::wire::Ends::new(at, at),
        slot: 9,
    };
    let bytes = knock.encode();
    server.socket().send(&[Span::from_slice(&bytes)]).unwrap();
    assert!(client.receive().is_err());
    // Memory of another kind.
    client
        .socket()
        .send_with_descriptor(&bytes, &zeros)
        .unwrap();
    assert!(ends(&server));
    // A slot that is in use, and one that is not there.
    assert!(Local::answer(&server, 0).is_err());
    assert!(Local::answer(&server, 9).is_err());
    drop((at_client, client));
    assert_eq!(doorbells_until_the_end(&server), [0]);
}

// --- Memory that is given back -----------------------------------------------------------------------

/// Both ends go.
fn end_of(connection: (Local, Local)) -> u32 {
    connection.0.number()
}

fn passes_on(client: &mut Local, server: &mut Local) {
    let bytes = [7; 10_000];
    let sent = client.send(Span::from_slice(&bytes), Span::NONE);
    let mut received = [0; 10_001];
    let n = server.receive(Span::NONE, Span::from_mut(&mut received));
    assert_eq!((sent, n), (Ok(bytes.len()), Ok(bytes.len())));
    assert_eq!(received[..bytes.len()], bytes);
}

#[test]
fn memory_that_no_connection_has_used_for_a_while_is_given_back() {
    let (client, server) = Pair::of_this_process().unwrap();
    let mut kept = connect(&client, &server).unwrap();
    let ended: Vec<_> = (0..100)
        .map(|_| connect(&client, &server).unwrap())
        .collect();
    let ended: Vec<_> = ended.into_iter().map(end_of).collect();
    let with_memory = || ended.iter().filter(|&&at| client.has_memory(at)).count();
    // Only some are looked at each time.
    assert_eq!(client.give_back(), TidyAgain::Soon);
    while client.give_back() == TidyAgain::Soon {}
    assert_eq!(with_memory(), 100);
    // In parts, since it takes a while.
    assert_eq!(client.give_back(), TidyAgain::Soon);
    assert!((50..100).contains(&with_memory()));
    while client.give_back() == TidyAgain::Soon {}
    assert_eq!(with_memory(), 0);
    assert_eq!(client.give_back(), TidyAgain::No);
    assert!(client.has_memory(kept.0.number()));
    passes_on(&mut kept.0, &mut kept.1);
    let (mut at_client, mut at_server) = connect(&client, &server).unwrap();
    assert!(ended.contains(&at_client.number()));
    passes_on(&mut at_client, &mut at_server);
}

#[test]
fn connections_that_are_made_and_end_in_turn_keep_their_memory() {
    let (client, server) = Pair::of_this_process().unwrap();
    let _kept = connect(&client, &server).unwrap();
    let more = [(); 2].map(|()| connect(&client, &server).unwrap());
    let ended = more.map(end_of);
    for _ in 0..5 {
        assert_eq!(client.give_back(), TidyAgain::Later);
        let number = end_of(connect(&client, &server).unwrap());
        assert!(ended.contains(&number) && client.has_memory(number));
    }
    // Only that of the second one, which nobody has used meanwhile.
    assert_eq!(
        ended
            .map(|at| client.has_memory(at))
            .iter()
            .filter(|has| **has)
            .count(),
        1
    );
}

#[test]
fn memory_that_the_other_side_still_uses_is_kept() {
    let (client, server) = Pair::of_this_process().unwrap();
    let _kept = connect(&client, &server).unwrap();
    let (mut at_client, mut at_server) = connect(&client, &server).unwrap();
    let number = at_client.number();
    at_client
        .send(Span::from_slice(b"last"), Span::NONE)
        .unwrap();
    drop(at_client);
    for _ in 0..3 {
        assert_eq!(client.give_back(), TidyAgain::Rarely);
    }
    let mut received = [0; 10];
    let n = at_server.receive(Span::NONE, Span::from_mut(&mut received));
    assert_eq!((n, &received[..4]), (Ok(4), &b"last"[..]));
    drop(at_server);
    assert_eq!(client.give_back(), TidyAgain::Later);
    assert!(client.has_memory(number));
    assert_eq!(client.give_back(), TidyAgain::No);
    assert!(!client.has_memory(number));
}

#[test]
fn who_has_had_no_connection_for_a_while_lets_go_of_the_pair() {
    let (client, server) = Pair::of_this_process().unwrap();
    let tidied_up = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tidied_up);
    client.on_spare_memory(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let connection = connect(&client, &server).unwrap();
    for _ in 0..5 {
        assert_eq!(client.give_back(), TidyAgain::No);
    }
    end_of(connection);
    assert_eq!(tidied_up.load(Ordering::Relaxed), 2);
    assert_eq!(client.give_back(), TidyAgain::Later);
    assert_eq!(client.give_back(), TidyAgain::Later);
    // One that was there meanwhile counts.
    end_of(connect(&client, &server).unwrap());
    assert_eq!(client.give_back(), TidyAgain::Later);
    let (_at_client, mut at_server) = connect(&client, &server).unwrap();
    drop(_at_client);
    assert_eq!(client.give_back(), TidyAgain::Later);
    assert_eq!(client.give_back(), TidyAgain::Later);
    assert_eq!(client.give_back(), TidyAgain::Over);
    // Nobody makes a connection any more, who has found the pair before that.
    assert_eq!(connect(&client, &server).err(), Some(libc::EPIPE));
    assert_eq!(client.give_back(), TidyAgain::No);
    assert!(client.end().is_empty());
    drop(client);
    while server.receive().is_ok() {}
    assert_eq!(server.end().len(), 0);
    assert_eq!(at_server.receive(Span::NONE, Span::NONE), Ok(0));
    assert_eq!(tidied_up.load(Ordering::Relaxed), 2);
}
