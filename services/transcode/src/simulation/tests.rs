//! Tests of the simulation: it is clean, fails without each guard, and repeats itself.

use rstest::rstest;

use super::{
    Options,
    guards::Guard,
    invariants::Invariant,
    run,
    system::{self, Outcome},
};

/// Seeds within which the simulation fails without a guard.
const SEEDS_WITHOUT_GUARD: u64 = 40;

#[test]
fn small_seeds_violate_no_invariant() {
    let mut output = Vec::new();
    // Every tenth seed is about fairness; the large ones are left out.
    let is_clean = run(&Options { seeds: 49, ..Options::default() }, &mut output).unwrap()
        && run(&Options { seeds: 49, first: 51, ..Options::default() }, &mut output).unwrap();
    assert!(is_clean, "{}", String::from_utf8_lossy(&output));
}

#[rstest]
#[case::fencing(Guard::Fencing, Invariant::Doubled)]
#[case::grace(Guard::Grace, Invariant::Lost)]
#[case::nonce(Guard::Nonce, Invariant::Doubled)]
#[case::budgets(Guard::Budgets, Invariant::Stuck)]
#[case::claims(Guard::Claims, Invariant::Doubled)]
#[case::publication_claims(Guard::PublicationClaims, Invariant::Lost)]
#[case::resume(Guard::Resume, Invariant::ReEncoded)]
#[case::second_opinion(Guard::SecondOpinion, Invariant::Lost)]
fn without_guard_an_invariant_is_violated(#[case] guard: Guard, #[case] expected: Invariant) {
    let options = Options { without: Some(guard), ..Options::default() };
    let violated = (1..=SEEDS_WITHOUT_GUARD).find_map(|seed| system::run(seed, &options, false).violation);
    assert_eq!(violated.map(|violation| violation.invariant), Some(expected));
}

/// Seeds about fairness are those that end with 7.
#[test]
fn without_fair_order_first_segments_are_late_and_shares_too_small() {
    let options = Options { without: Some(Guard::FairOrder), ..Options::default() };
    let seeds = (7..=200).step_by(10);
    let violated: Vec<_> = seeds
        .filter_map(|seed| system::run(seed, &options, false).violation)
        .map(|violation| violation.invariant)
        .collect();
    assert!(violated.contains(&Invariant::FirstSegmentLate), "{violated:?}");
    assert!(violated.contains(&Invariant::ShareTooSmall), "{violated:?}");
}

#[test]
fn same_seed_gives_the_same_timeline() {
    // One of each kind: mixed, and about fairness.
    for seed in [3, 7] {
        let timeline = || {
            let Outcome { hash, events, lines, .. } = system::run(seed, &Options::default(), true);
            (hash, events, lines)
        };
        let first = timeline();
        assert!(first == timeline(), "seed {seed}");
        let without_lines = system::run(seed, &Options::default(), false);
        assert_eq!((without_lines.hash, without_lines.events), (first.0, first.1), "seed {seed}");
    }
}

#[test]
fn failed_seed_is_printed_with_its_replay() {
    let mut output = Vec::new();
    let options = Options { without: Some(Guard::Claims), seed: Some(1), ..Options::default() };
    assert!(!run(&options, &mut output).unwrap());
    let output = String::from_utf8(output).unwrap();
    let failure = output.lines().find(|line| line.starts_with("simulate: seed 1 failed: ")).unwrap();
    assert!(failure.ends_with(r#"; replay: make simulate ARGS="seed=1 without=claims""#), "{failure}");
}

#[test]
fn parse_accepts_known_arguments_only() {
    let parse = |arguments: &[&str]| Options::parse(arguments.iter().map(|argument| (*argument).to_owned()));
    let options = parse(&["seeds=5", "first=9", "without=grace"]).unwrap();
    assert_eq!((options.seeds, options.first, options.without), (5, 9, Some(Guard::Grace)));
    for invalid in ["seeds", "seeds=x", "without=locks", "size=huge", "sead=1"] {
        assert!(parse(&[invalid]).is_err(), "{invalid}");
    }
}
