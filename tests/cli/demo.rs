use crate::support::fgq_in;
use serde_json::Value;
use std::path::Path;

/// Runs of figures become `#`, so that the text is the same on every machine.
fn without_figures(text: &str) -> String {
    let is_figure = |word: &str| word.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let line = |line: &str| {
        let mut words: Vec<&str> =
            line.split_whitespace().map(|word| if is_figure(word) { "#" } else { word }).collect();
        words.dedup();
        words.join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn demo_prints_one_table() {
    let run = fgq_in(Path::new("."), &["demo"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(
        without_figures(&run.stdout),
        "A small ResNet for handwritten digits, made ternary without training.\n\
         # images for calibration, # others for testing, # s.\n\
         \n\
         network top-1 right drop agreement bytes bits/weight multiplications\n\
         full precision # of #\n\
         ternary, N=4 # of #\n\
         ternary, N=64 # of #\n\
         one file, # of # planes # of #\n\
         one file, # of # planes # of #\n\
         one file, # of # planes # of #\n\
         \n\
         Ternary rows run with integers only, pixels to class. Bytes are those of the whole file.\n\
         Images: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY #"
    );
}

#[test]
fn demo_in_json_is_sane() {
    let demo = fgq_in(Path::new("."), &["demo", "--json"]).json();
    let row = |index: usize| demo["rows"][index].clone();
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap();
    assert_eq!(demo["rows"].as_array().unwrap().len(), 6);
    assert_eq!(demo["test_images"], 500);
    assert_eq!(row(0)["right"], 494, "ONNX Runtime gets 494 right");
    assert!(number(&row(1), "drop").abs() <= 2.0, "N=4 is within 2 points");
    assert!(number(&row(1), "agreement") >= 97.0);
    assert!(number(&row(2), "top1") >= 90.0);
    for (index, bits) in [(0, 32.0..=32.0), (1, 2.6..=4.5), (2, 1.7..=3.5)] {
        assert!(bits.contains(&number(&row(index), "bits_per_weight")));
    }
    assert!((number(&row(1), "multiplications_left") - 25.0).abs() < 3.0);
    assert!(number(&row(2), "bytes") < number(&row(1), "bytes"));
    for (index, most) in [(3, 1.0), (4, 1.0), (5, 5.0)] {
        assert!(number(&row(index), "drop") <= most, "{demo}");
        assert_eq!(row(index)["bytes"], row(3)["bytes"], "one file");
    }
    assert!(number(&row(3), "multiplications_left") > number(&row(5), "multiplications_left"));
}
