use super::*;

#[test]
fn groups_beyond_a_layer_are_one_candidate() {
    let options = IndicatorOptions::default();
    let of = |inputs| options.precisions_for(inputs).iter().map(Precision::to_string).collect::<Vec<_>>();
    assert_eq!(of(16), ["ternary:4/4", "ternary:8/4", "ternary:16/4", "int3", "int4", "int8"]);
    assert_eq!(of(2), ["ternary:4/4", "int3", "int4", "int8"]);
    assert_eq!(of(64).len(), 7);
    assert_eq!(of(1), ["int3", "int4", "int8"]);
}

#[test]
fn indicators_have_names() {
    for text in ["divergence", "output-error"] {
        assert_eq!(text.parse::<Indicator>().unwrap().to_string(), text);
    }
    assert!("x".parse::<Indicator>().is_err());
}

#[cfg(feature = "train")]
#[test]
fn learned_indicators_have_their_own_candidates() {
    let options = IndicatorOptions::learned();
    assert_eq!("learned".parse::<Indicator>().unwrap(), options.indicator);
    assert!(options.check().is_ok() && options.indicator.is_learned() && !Indicator::default().is_learned());
    let other = IndicatorOptions { course: Course { seed: 1, ..options.course.clone() }, ..options.clone() };
    assert_ne!(options.method(), other.method());
}
