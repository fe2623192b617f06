//! Random lives of one person: signals, answers, humans, guards, clocks and crashes in any order.

use proptest::prelude::*;

use super::super::*;
use super::laws;
use super::world::{How, PLANS, World};

#[derive(Debug, Clone)]
enum Move {
    Arrive { plan: usize, age: i64 },
    Answer { which: usize, how: How },
    Pass(i64),
    Approve(usize),
    Deny(usize),
    ByHand(usize),
    PassOn(usize),
    Pause(bool),
    Cap(bool),
    Release,
    DenyRelease,
    Listed(bool),
    Group(bool),
    Browser(bool),
    Order(usize),
    Crash,
}

fn answers() -> impl Strategy<Value = How> {
    prop_oneof![
        10 => Just(How::Done),
        3 => Just(How::Retry),
        2 => Just(How::Refuse),
        1 => Just(How::Nobody),
        3 => Just(How::Unknown),
        3 => Just(How::NotApplied),
        1 => Just(How::Undetermined),
        1 => Just(How::Changed),
    ]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let age = prop_oneof![6 => 0..30i64, 2 => -120..0i64, 2 => 30..7_200i64, 1 => 300_000..400_000i64];
    let seconds = prop_oneof![6 => 0..10i64, 3 => 10..120i64, 1 => 120..3_600i64, 1 => 3_600..90_000i64];
    let one = prop_oneof![
        6 => (0..PLANS, age).prop_map(|(plan, age)| Move::Arrive { plan, age }),
        24 => (any::<usize>(), answers()).prop_map(|(which, how)| Move::Answer { which, how }),
        10 => seconds.prop_map(Move::Pass),
        8 => any::<usize>().prop_map(Move::Approve),
        2 => any::<usize>().prop_map(Move::Deny),
        4 => any::<usize>().prop_map(Move::ByHand),
        3 => any::<usize>().prop_map(Move::PassOn),
        2 => any::<bool>().prop_map(Move::Pause),
        2 => any::<bool>().prop_map(Move::Cap),
        1 => Just(Move::Release),
        1 => Just(Move::DenyRelease),
        1 => prop::bool::weighted(0.3).prop_map(Move::Listed),
        1 => any::<bool>().prop_map(Move::Group),
        2 => any::<bool>().prop_map(Move::Browser),
        4 => any::<usize>().prop_map(Move::Order),
        2 => Just(Move::Crash),
    ];
    prop::collection::vec(one, 0..80)
}

fn play(world: &mut World, played: &Move) {
    let chosen = |world: &World, which: usize| {
        let open = world.open_tasks();
        (!open.is_empty()).then(|| open[which % open.len()])
    };
    match *played {
        Move::Arrive { plan, age } => world.arrive(plan, age),
        Move::Answer { which, how } => world.answer(which, how),
        Move::Pass(seconds) => world.pass(seconds),
        Move::Approve(which) => drop(chosen(world, which).map(|task| world.approve(task))),
        Move::Deny(which) => drop(chosen(world, which).map(|task| world.deny(task))),
        Move::ByHand(which) => drop(chosen(world, which).map(|task| world.do_by_hand(task))),
        Move::PassOn(which) => drop(chosen(world, which).map(|task| world.pass_on(task))),
        Move::Pause(on) => world.facts.paused = on.then(|| "drill".into()),
        Move::Cap(on) => world.facts.over_cap = on,
        Move::Release => world.facts.released_at = Some(world.now),
        Move::DenyRelease => world.facts.denied_at = Some(world.now),
        Move::Listed(on) => world.facts.listed = on,
        Move::Group(on) => {
            world.facts.membership = if on { guard::Membership::NeverLoaded } else { guard::Membership::NotAMember };
        }
        Move::Browser(here) => world.browser_here = here,
        Move::Order(which) => drop(world.order(which)),
        Move::Crash => world.crash(),
    }
    world.advance();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_laws_hold_in_every_life_and_every_life_comes_to_rest(moves in moves(), orphans in 0..3_u8) {
        let mut world = World::new(Mode::Enforce);
        world.orphans = match orphans {
            0 => Orphans::Dead,
            1 => Orphans::LeaseEnded(world.now),
            _ => Orphans::Ours,
        };
        for played in &moves {
            play(&mut world, played);
        }
        world.calm();
        laws::at_rest(&world);
    }

    #[test]
    fn a_rehearsal_sends_nothing_and_comes_to_rest(moves in moves()) {
        let mut world = World::new(Mode::Shadow);
        for played in &moves {
            play(&mut world, played);
        }
        world.calm();
        laws::at_rest(&world);
        prop_assert!(world.intended.is_empty());
        prop_assert!(world.person.doc.watermark.is_none());
    }
}
