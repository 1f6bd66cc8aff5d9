use super::super::tests::{Case, case};
use super::*;

fn problem(case: &Case) -> Problem {
    Problem::new(case.hessian.clone(), case.run, case.group).unwrap()
}

/// Rows that descent alone cannot improve.
fn descended(problem: &Problem, case: &Case) -> Row {
    let mut row = problem.round_all(&case.target);
    problem.descend(&case.target, &mut row);
    row
}

#[track_caller]
fn near(ours: f64, expected: f64, size: f64) {
    assert!((ours - expected).abs() <= 1e-9 * size, "{ours} {expected}");
}

/// Error and gradient are kept up to date by every change.
fn check(state: &State, case: &Case) {
    let mut row = Row { codes: vec![0; case.target.len()], scales: vec![0; state.problem.blocks.len()] };
    state.store(&mut row);
    let size = case.error(|_| 0.0);
    near(state.error, case.row_error(&row), size);
    let gradient = state.problem.gradient(&case.target, &row, &state.problem.groups_by_index());
    let largest = gradient.iter().chain(&state.gradient).fold(1.0, |most: f64, value| most.max(value.abs()));
    for (ours, expected) in state.gradient.iter().zip(gradient) {
        near(*ours, expected, 1e3 * largest);
    }
}

#[test]
fn errors_and_gradients_are_those_of_the_codes() {
    for (run, group) in [(6, 1), (20, 4), (19, 8), (32, 16)] {
        let case = case(5, 2 * run, run, group, 90);
        let problem = problem(&case);
        let mut state = State::new(&problem, &case.target, &descended(&problem, &case));
        check(&state, &case);
        for place in 0..problem.blocks.len() {
            state.kick(place, KICKS[place % KICKS.len()]);
            check(&state, &case);
            state.change_codes();
            check(&state, &case);
            state.fit_scale(place);
            check(&state, &case);
        }
    }
}

#[test]
fn the_cheapest_change_is_the_one_that_trying_finds() {
    let case = case(9, 24, 12, 4, 60);
    let problem = problem(&case);
    let mut state = State::new(&problem, &case.target, &descended(&problem, &case));
    let mut fixed: Vec<bool> = state.scales.iter().map(|&scale| scale == 0.0).collect();
    let mut changes = 0;
    for _ in 0..24 {
        let mut tried = (f64::INFINITY, 0, 0.0);
        for index in (0..24).filter(|&index| !fixed[index]) {
            for change in [-2.0, -1.0, 1.0, 2.0_f64] {
                let code: f64 = state.codes[index] + change;
                if code.abs() <= 1.0 && state.scales[index] > 0.0 {
                    let mut other = state.clone();
                    other.shift(index, change * other.scales[index]);
                    if other.error < tried.0 {
                        tried = (other.error, index, change);
                    }
                }
            }
        }
        let Some((index, change)) = state.cheapest(&fixed) else {
            assert_eq!(tried.0, f64::INFINITY);
            break;
        };
        assert_eq!((index, change), (tried.1, tried.2));
        state.codes[index] += change;
        state.shift(index, change * state.scales[index]);
        fixed[index] = true;
        changes += 1;
    }
    assert!(changes > 12);
}

/// What is undone leaves no trace, and nothing gets worse.
#[test]
fn chains_of_changes_end_where_the_error_was_least() {
    for seed in 0..20 {
        let case = case(60 + seed, 30, 15, 5, 80);
        let problem = problem(&case);
        let mut state = State::new(&problem, &case.target, &problem.round_all(&case.target));
        let before = state.error;
        let moved = state.change_codes();
        assert!(state.error <= before);
        assert_eq!(moved.is_empty(), state.error == before);
        assert!(state.codes.iter().all(|code| [-1.0, 0.0, 1.0].contains(code)));
    }
}

#[test]
fn searching_leaves_less_error_than_descent() {
    for (group, most) in [(4, 0.98), (16, 0.97), (64, 0.97)] {
        let (mut before, mut after) = (0.0, 0.0);
        for seed in 0..10 {
            let case = case(300 + seed, 128, 64, group, 260);
            let problem = problem(&case);
            let mut row = descended(&problem, &case);
            let error = case.row_error(&row);
            problem.search(&case.target, &mut row);
            assert!(case.row_error(&row) <= error * (1.0 + 1e-9));
            before += error;
            after += case.row_error(&row);
        }
        assert!(after < most * before, "N={group}: {}", after / before);
    }
}

/// There is nothing to kick where all is zero or one weight is exact.
#[test]
fn zeros_stay_zeros() {
    let case = Case { target: vec![0.0; 12], ..case(3, 12, 12, 4, 30) };
    let mut row = Row { codes: vec![0; 12], scales: vec![0; 3] };
    problem(&case).search(&case.target, &mut row);
    assert_eq!((row.codes, row.scales), (vec![0; 12], vec![0; 3]));
}
