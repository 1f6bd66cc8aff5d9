use super::*;

#[test]
fn groups_beyond_a_layer_are_one_candidate() {
    let options = IndicatorOptions::default();
    let of = |inputs| options.precisions_for(inputs).iter().map(Precision::to_string).collect::<Vec<_>>();
    assert_eq!(of(16), ["ternary:4", "ternary:8", "ternary:16", "int4", "int8"]);
    assert_eq!(of(2), ["ternary:4", "int4", "int8"]);
    assert_eq!(of(64).len(), 6);
    assert_eq!(of(1), ["int4", "int8"]);
}

#[test]
fn indicators_found_otherwise_are_not_continued() {
    let options = IndicatorOptions::default();
    let begun = started(Indicators::default(), &options, 10).unwrap();
    assert!(!begun.complete && begun.images == Some(10));
    let known = Indicators { layers: vec![LayerIndicators::default()], ..begun };
    assert!(started(known.clone(), &options, 10).is_ok());
    assert!(started(known.clone(), &options, 11).is_err());
    let other = IndicatorOptions { measured: 5, ..options };
    assert!(started(known, &other, 10).unwrap_err().to_string().contains("found otherwise"));
}

#[test]
fn indicators_have_names() {
    for text in ["divergence", "output-error"] {
        assert_eq!(text.parse::<Indicator>().unwrap().to_string(), text);
    }
    assert!("x".parse::<Indicator>().is_err());
}
