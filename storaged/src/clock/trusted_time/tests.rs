use crate::clock::trusted_time::*;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const START: u64 = 1_800_000_000;
/// Steps that a clock may make, in seconds.
const STEPS: [i64; 6] = [-400 * 86_400, -86_400, 4 * 86_400, 130 * 86_400, 1826 * 86_400, 7 * 3600];

/// A machine: the true time, a clock that may be wrong, and uptime.
struct Machine {
    time: TrustedTime,
    now: u64,
    wrong_by: i64,
    uptime: Duration,
}

impl Machine {
    fn new() -> Self {
        let mut machine = Self {
            time: TrustedTime::new(Memory::default(), UnixSeconds::new(0)),
            now: START,
            wrong_by: 0,
            uptime: Duration::ZERO,
        };
        machine.look();
        machine
    }

    fn look(&mut self) -> (ClockTrust, Times) {
        let wall = UnixSeconds::new(self.now.saturating_add_signed(self.wrong_by));
        let looked = self.time.look(wall, self.uptime);
        let (_, Times { wall, now, stamp, deletable, deletable_minutes }) = looked;
        assert!(deletable <= now && deletable <= wall && stamp >= now && stamp >= wall);
        assert!(deletable_minutes >= deletable && deletable_minutes <= stamp);
        looked
    }

    fn standing(&mut self) -> ClockTrust {
        self.look().0
    }

    /// The relay runs for so many seconds, and looks every minute.
    fn run(&mut self, seconds: u64) {
        let mut left = seconds;
        while left > 0 {
            let step = left.min(60);
            left -= step;
            self.now += step;
            self.uptime += Duration::from_secs(step);
            self.look();
        }
    }

    /// The relay is off for so many seconds. What it wrote down last may be a minute old.
    fn restart(&mut self, off: u64) {
        self.time = TrustedTime::new(self.time.memory(), UnixSeconds::new(self.time.built));
        self.now += off;
        self.uptime = Duration::from_secs(7);
        self.look();
    }

    fn deletable(&mut self) -> u64 {
        self.look().1.deletable.get()
    }
}

#[test]
fn a_clock_that_runs_as_it_should_is_trusted_whatever_small_it_does() {
    let mut machine = Machine::new();
    for wrong_by in [0, 1, -1, 30, -200, 299, 0] {
        machine.wrong_by = wrong_by;
        machine.run(HOUR);
        assert_eq!(machine.standing(), ClockTrust::Trusted, "{wrong_by}");
        let (_, times) = machine.look();
        assert_eq!(times, Times::trusted(times.wall));
    }
    machine.restart(5 * HOUR);
    assert_eq!(machine.standing(), ClockTrust::Trusted);
    assert_eq!(machine.time.apart(), 0);
}

#[test]
fn a_step_is_not_trusted_and_the_right_time_is_at_once_again() {
    for step in STEPS {
        for restarts in [false, true] {
            let mut machine = Machine::new();
            machine.run(3 * DAY);
            machine.wrong_by = step;
            if restarts {
                machine.restart(0);
            }
            machine.run(23 * HOUR);
            let wrong = if step > 0 { ClockTrust::Ahead } else { ClockTrust::Behind };
            assert_eq!(machine.standing(), wrong, "{step}");
            assert_eq!(machine.standing().may_store(), step > 0);
            assert!(machine.deletable() <= machine.now, "{step}");
            assert!(machine.time.apart().abs_diff(step.unsigned_abs()) < 120);
            let (_, times) = machine.look();
            assert!(times.now.get().abs_diff(machine.now) < 120, "it goes by its uptime");
            machine.wrong_by = 0;
            if restarts {
                machine.restart(0);
            }
            assert_eq!(machine.standing(), ClockTrust::Trusted, "{step}");
            assert_eq!(machine.deletable(), machine.now);
        }
    }
}

#[test]
fn a_clock_that_stays_the_same_for_a_day_of_uptime_is_trusted_however_often_the_relay_restarts() {
    // One that is a day behind has come to the newest trusted time by then.
    for step in STEPS.into_iter().filter(|step| *step != -86_400) {
        let mut machine = Machine::new();
        machine.run(DAY);
        machine.wrong_by = step;
        for _ in 0..47 {
            machine.restart(120);
            machine.run(HOUR / 2);
            assert_ne!(machine.standing(), ClockTrust::Trusted, "{step}");
        }
        machine.restart(120);
        machine.run(HOUR);
        assert_eq!(machine.standing(), ClockTrust::Trusted, "{step}");
        let wall = machine.now.saturating_add_signed(step);
        assert_eq!(machine.deletable(), wall);
    }
}

#[test]
fn a_clock_that_is_another_wrong_one_after_each_restart_is_never_trusted() {
    let mut machine = Machine::new();
    for round in 0..40 {
        machine.wrong_by = STEPS[round % STEPS.len()] + 7 * 86_400 * i64::try_from(round).unwrap();
        machine.restart(0);
        machine.run(20 * HOUR);
        assert_ne!(machine.standing(), ClockTrust::Trusted);
        assert!(machine.deletable() <= machine.now);
    }
    machine.wrong_by = 0;
    assert_eq!(machine.standing(), ClockTrust::Trusted);
}

#[test]
fn a_relay_that_was_off_for_a_week_keeps_its_mail_for_a_day_longer() {
    let mut machine = Machine::new();
    machine.run(DAY);
    let before = machine.now;
    machine.restart(7 * DAY);
    assert_eq!(machine.standing(), ClockTrust::Ahead);
    assert!(machine.standing().may_store());
    assert_eq!(machine.deletable(), before);
    let (_, times) = machine.look();
    assert_eq!(times.stamp.get(), machine.now, "what comes now ends when it should");
    machine.run(DAY);
    assert_eq!(machine.deletable(), machine.now);
}

#[test]
fn a_relay_that_is_off_every_night_goes_on_deleting() {
    let mut machine = Machine::new();
    for _ in 0..60 {
        machine.run(14 * HOUR);
        machine.restart(10 * HOUR);
        assert!(machine.deletable() + 3 * DAY > machine.now);
        assert!(machine.deletable() <= machine.now);
    }
}

#[test]
fn the_operators_word_settles_it_but_not_against_the_time_of_the_build() {
    for step in [-86_400, 130 * 86_400] {
        let mut machine = Machine::new();
        machine.wrong_by = step;
        assert_ne!(machine.standing(), ClockTrust::Trusted);
        assert!(machine.time.trust());
        assert_eq!(machine.standing(), ClockTrust::Trusted);
        machine.restart(60);
        assert_eq!(machine.standing(), ClockTrust::Trusted);
    }
    let mut machine = Machine::new();
    machine.time.built = START + HOUR;
    assert_eq!(machine.standing(), ClockTrust::BeforeBuild);
    assert!(!machine.time.trust() && !machine.standing().may_store());
    machine.run(2 * HOUR);
    assert_eq!(machine.standing(), ClockTrust::Trusted);
}

#[test]
fn no_uptime_makes_a_clock_from_before_the_build_trusted() {
    let mut machine = Machine::new();
    machine.time.built = START;
    machine.wrong_by = -400 * 86_400;
    machine.run(5 * DAY);
    assert_eq!(machine.standing(), ClockTrust::BeforeBuild);
    machine.wrong_by = 0;
    assert_eq!(machine.standing(), ClockTrust::Trusted);
}

#[test]
fn a_step_that_is_small_and_short_does_not_make_the_right_time_look_behind() {
    // A hardware clock in local time, until the network's time arrives.
    let mut machine = Machine::new();
    machine.run(DAY);
    machine.wrong_by = 5 * 3600;
    machine.restart(60);
    machine.run(200);
    assert_eq!(machine.standing(), ClockTrust::Trusted);
    machine.wrong_by = 0;
    assert_eq!(machine.standing(), ClockTrust::Trusted);
}

#[test]
fn a_clock_that_was_behind_for_days_is_trusted_at_once_when_it_is_mended() {
    let mut machine = Machine::new();
    machine.run(DAY);
    for round in 0..6 {
        // Another wrong one each time, so that none is trusted for having stayed.
        machine.wrong_by = -86_400 * (3 + 7 * round);
        machine.run(20 * HOUR);
        machine.restart(60);
        assert_eq!(machine.standing(), ClockTrust::Behind);
    }
    machine.wrong_by = 0;
    assert_eq!(machine.standing(), ClockTrust::Trusted);
}

#[test]
fn what_lives_for_minutes_goes_an_hour_after_a_step() {
    let mut machine = Machine::new();
    machine.restart(7 * DAY);
    let minutes = |machine: &mut Machine| machine.look().1.deletable_minutes.get();
    assert!(minutes(&mut machine) < machine.now - 6 * DAY);
    machine.run(HOUR + 600);
    assert_eq!(minutes(&mut machine), machine.now);
    assert_eq!(machine.standing(), ClockTrust::Ahead);
}

#[test]
fn a_database_that_remembers_no_time_is_believed_as_far_as_its_rows_go() {
    let look = |running, wall| {
        let memory = Memory { running, ..Memory::default() };
        TrustedTime::new(memory, UnixSeconds::new(0)).look(UnixSeconds::new(wall), Duration::ZERO)
    };
    assert_eq!(look(0, START).0, ClockTrust::Trusted, "there is nothing to lose");
    assert_eq!(look(START, START + HOUR).0, ClockTrust::Trusted);
    assert_eq!(look(START, START - 20 * DAY).0, ClockTrust::Trusted, "rows may be of a time that never was");
    assert_eq!(look(START, START + 130 * DAY).0, ClockTrust::Ahead);
}

/// Pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn whatever_a_clock_does_nothing_is_deleted_early_and_the_right_time_is_believed_at_once() {
    for seed in 0..200 {
        let (mut machine, mut dice) = (Machine::new(), Dice(seed));
        machine.run(HOUR);
        // Time off counts like a step: as long as it is short, the right clock is always the trusted one.
        let mut off_in_all = 0;
        for _ in 0..60 {
            match dice.below(4) {
                // Every wrong clock is one that was never seen before, so none is trusted for having stayed.
                0 => {
                    let days = 4 + dice.below(5000);
                    let sign = if dice.below(2) == 0 { 1 } else { -1 };
                    machine.wrong_by = sign * i64::try_from(days * DAY).unwrap();
                }
                1 => machine.wrong_by = 0,
                2 if off_in_all < 5 * HOUR => {
                    let off = dice.below(600);
                    off_in_all += off;
                    machine.restart(off);
                }
                _ => {
                    if machine.wrong_by != 0 {
                        // Less than a day with this one.
                        machine.run(dice.below(6 * HOUR));
                        machine.wrong_by = 0;
                    } else {
                        machine.run(dice.below(3 * DAY));
                        off_in_all = 0;
                    }
                }
            }
            assert!(machine.deletable() <= machine.now, "seed {seed}");
            let standing = machine.standing();
            assert_eq!(standing == ClockTrust::Trusted, machine.wrong_by == 0, "seed {seed}");
        }
    }
}
