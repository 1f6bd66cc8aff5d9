use super::*;
use proptest::prelude::*;
use serde::Deserialize;

/// The numbers that `Draws` of fixtures/plan/make_plans.py draws.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn unrelated(&mut self) -> Vec<Item> {
        let mut item = || Item {
            cost: (1 + self.below(1_000_000)) as f64,
            uses: (0..3).map(|_| 1 + self.below(1_000_000)).collect(),
        };
        (0..8).map(|_| item()).collect()
    }

    fn falling(&mut self) -> Vec<Item> {
        let mut sorted = || {
            let mut numbers: Vec<u64> = (0..8).map(|_| 1 + self.below(1_000_000)).collect();
            numbers.sort_unstable();
            numbers
        };
        let costs = sorted();
        let rows: Vec<Vec<u64>> = (0..3).map(|_| sorted()).collect();
        let item =
            |at: usize| Item { cost: costs[7 - at] as f64, uses: rows.iter().map(|row| row[at]).collect() };
        (0..8).map(item).collect()
    }

    fn bits(&mut self) -> Vec<Item> {
        let (weights, positions) = (1024 + self.below(1 << 20), 1 << (4 + self.below(8)));
        let activations = 1 << (12 + self.below(7));
        let (weight_cost, activation_cost) = (1000 + self.below(50_000), 1000 + self.below(100_000));
        let mut items = Vec::new();
        for (width, weight_damage) in [(2, 100), (3, 55), (4, 30), (6, 9)] {
            for (narrow, activation_damage) in [(4, 100), (8, 20)] {
                let cost = 2 * weight_cost * weight_damage + activation_cost * activation_damage;
                let uses = vec![weights * width, weights * positions * width * narrow, activations * narrow];
                items.push(Item { cost: cost as f64, uses });
            }
        }
        items
    }
}

#[derive(Deserialize)]
struct Stored {
    kind: String,
    seed: u64,
    limits: Vec<u64>,
    optimum: f64,
}

/// Problems whose optima another solver found.
fn stored() -> Vec<(Problem, f64)> {
    let stored: Vec<Stored> = serde_json::from_str(include_str!("../../fixtures/plan/optima.json")).unwrap();
    let problem = |stored: Stored| {
        let mut draws = Draws(stored.seed);
        let draw = match stored.kind.as_str() {
            "unrelated" => Draws::unrelated,
            "falling" => Draws::falling,
            _ => Draws::bits,
        };
        let groups = (0..107).map(|_| draw(&mut draws)).collect();
        (Problem { groups, limits: stored.limits }, stored.optimum)
    };
    stored.into_iter().map(problem).collect()
}

#[test]
fn optima_of_another_solver_are_proven_with_few_nodes() {
    for (problem, optimum) in stored() {
        let selection = problem.solve(Effort::default()).unwrap();
        assert_eq!(selection.cost, optimum);
        assert_eq!(selection.bound, optimum);
        // About 25 µs each.
        assert!(selection.nodes < 40_000, "{}", selection.nodes);
    }
}

#[test]
fn a_search_cut_short_says_how_far_it_is_from_proof() {
    let (problem, optimum) = stored().into_iter().nth(11).unwrap();
    let selection = problem.solve(Effort { nodes: 3, ..Effort::default() }).unwrap();
    assert!(selection.bound <= optimum && optimum <= selection.cost, "{selection:?}");
    assert!(selection.bound < selection.cost && selection.cost < 1.01 * optimum, "{selection:?}");
}

#[test]
fn microlp_agrees() {
    // Of each kind one that it solves in a second.
    for (problem, optimum) in stored().into_iter().step_by(5).take(2) {
        let cost = by_microlp(&problem).unwrap();
        assert!((cost - optimum).abs() < 1e-6 * optimum, "{cost} for {optimum}");
    }
}

/// The optimum that the general solver microlp finds.
fn by_microlp(problem: &Problem) -> Option<f64> {
    use microlp::{ComparisonOp, OptimizationDirection, Variable};
    let largest = problem.groups.iter().flatten().map(|item| item.cost.abs()).fold(1e-300, f64::max);
    let mut program = microlp::Problem::new(OptimizationDirection::Minimize);
    let mut variable = |item: &Item| program.add_binary_var(item.cost / largest);
    let variables: Vec<Vec<Variable>> =
        problem.groups.iter().map(|group| group.iter().map(&mut variable).collect()).collect();
    for group in &variables {
        program.add_constraint(group.iter().map(|&item| (item, 1.0)), ComparisonOp::Eq, 1.0);
    }
    let items = || variables.iter().flatten().copied().zip(problem.groups.iter().flatten());
    for (row, &limit) in problem.limits.iter().enumerate() {
        let scale = limit.max(1) as f64;
        let terms = items().map(|(variable, item)| (variable, item.uses[row] as f64 / scale));
        program.add_constraint(terms, ComparisonOp::Le, limit as f64 / scale);
    }
    let solution = program.solve().ok()?.into_solution().ok()?;
    let chosen = items().filter(|(variable, _)| solution.var_value(*variable) > 0.5);
    Some(chosen.map(|(_, item)| item.cost).sum())
}

/// The least cost of all combinations.
fn brute_force(problem: &Problem) -> Option<f64> {
    fn best(groups: &[Vec<Item>], left: &[u64]) -> Option<f64> {
        let Some((group, others)) = groups.split_first() else { return Some(0.0) };
        let with = |item: &Item| {
            let left: Option<Vec<u64>> =
                left.iter().zip(&item.uses).map(|(left, used)| left.checked_sub(*used)).collect();
            Some(item.cost + best(others, &left?)?)
        };
        group.iter().filter_map(with).min_by(f64::total_cmp)
    }
    best(&problem.groups, &problem.limits)
}

/// Small problems with ties, zeros, equal groups, negative costs and limits that bind, that cannot, or that nothing keeps.
fn problems() -> impl Strategy<Value = Problem> {
    (0usize..=3).prop_flat_map(|rows| {
        let uses = prop::collection::vec(prop_oneof![Just(0u64), 1u64..6, 0u64..1000], rows);
        let item = (prop_oneof![(-3i32..4).prop_map(f64::from), -1.0..1.0f64], uses)
            .prop_map(|(cost, uses)| Item { cost, uses });
        let groups = prop::collection::vec(prop::collection::vec(item, 1..5), 1..7);
        let limits = prop::collection::vec(prop_oneof![0u64..20, 0u64..3000], rows);
        (groups, limits).prop_map(|(groups, limits)| Problem { groups, limits })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn small_problems_are_solved_exactly(problem in problems()) {
        let selection = problem.solve(Effort::default());
        match (brute_force(&problem), &selection) {
            (None, None) => {}
            (Some(cost), Some(selection)) => {
                prop_assert!((cost - selection.cost).abs() < 1e-9, "{} for {}", selection.cost, cost);
                prop_assert!((selection.bound - selection.cost).abs() < 1e-9);
                for (used, limit) in selection.uses.iter().zip(&problem.limits) {
                    prop_assert!(used <= limit);
                }
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn small_problems_are_solved_as_microlp_does(problem in problems()) {
        let cost = problem.solve(Effort::default()).map(|selection| selection.cost);
        match (by_microlp(&problem), cost) {
            (Some(a), Some(b)) => prop_assert!((a - b).abs() < 1e-6, "{a} {b}"),
            (a, b) => prop_assert_eq!(a, b),
        }
    }
}

#[test]
fn many_equal_groups_end_in_a_small_gap() {
    let item = |cost: f64, uses: [u64; 2]| Item { cost, uses: uses.to_vec() };
    let group = || vec![item(9.0, [1, 4]), item(5.0, [2, 3]), item(2.0, [4, 2]), item(1.0, [7, 1])];
    let problem = Problem { groups: (0..100).map(|_| group()).collect(), limits: vec![333, 261] };
    let selection = problem.solve(Effort { nodes: 2000, ..Effort::default() }).unwrap();
    assert!(selection.nodes >= 2000 && selection.cost == 302.0 && selection.bound > 300.0, "{selection:?}");
}

#[test]
fn no_groups_and_no_budgets() {
    let empty = Problem { groups: vec![], limits: vec![5] };
    assert_eq!(empty.solve(Effort::default()).unwrap().cost, 0.0);
    let item = |cost| Item { cost, uses: vec![] };
    let free = Problem { groups: vec![vec![item(2.0), item(1.0)], vec![item(3.0)]], limits: vec![] };
    assert_eq!(free.solve(Effort::default()).unwrap().items, [1, 0]);
    let nothing = Problem { groups: vec![vec![]], limits: vec![] };
    assert_eq!(nothing.solve(Effort::default()), None);
}
