// SPDX-License-Identifier: BSD-3-Clause

//! Connections that share a socket and memory, with both ends in this process.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::local::{Local, connect};
use super::memory::Span;
use super::pair::{Heard, Pair};
use crate::wire::{KNOCK, Knock};

fn doorbells(pair: &Pair) -> Vec<u32> {
    let mut all = Vec::new();
    while let Heard::Doorbell(number) = pair.receive().unwrap() {
        all.push(number);
    }
    all
}

fn doorbells_until_the_end(pair: &Pair) -> Vec<u32> {
    let mut all = Vec::new();
    while let Ok(Heard::Doorbell(number)) = pair.receive() {
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
    assert!(matches!(server.receive(), Ok(Heard::Table)));
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
