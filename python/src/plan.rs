//! Plans: which layer gets which precision.

use crate::errors::{argument, exception};
use crate::images::Images;
use crate::network::Network;
use crate::work::watched;
use fgq::{Budgets, IndicatorOptions, Indicators, Outliers, PlanOptions, UniformBits};
use pyo3::prelude::*;
use std::path::PathBuf;

/// A precision for every layer, found for budgets.
#[pyclass(frozen, module = "fgq")]
pub struct Plan(pub fgq::Plan);

#[pymethods]
impl Plan {
    /// The plan in a file.
    #[staticmethod]
    fn read(path: PathBuf) -> PyResult<Self> {
        fgq::read_plan(&path).map(Self).map_err(exception)
    }

    /// Writes it to a file.
    fn write(&self, path: PathBuf) -> PyResult<()> {
        self.0.write(&path).map_err(exception)
    }

    /// Whether no plan within the budgets has less predicted damage.
    #[getter]
    fn is_proven(&self) -> bool {
        self.0.is_proven()
    }

    /// As its file has it.
    fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}

/// What indicators are found for, and how.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct IndicatorWish {
    indicator: String,
    precisions: Option<Vec<String>>,
    act_bits: Option<Vec<u8>>,
    range: Option<String>,
    measure: usize,
    file: Option<PathBuf>,
}

impl IndicatorWish {
    fn options(&self) -> fgq::Result<IndicatorOptions> {
        let indicator: fgq::Indicator = self.indicator.parse()?;
        let default =
            if indicator.is_learned() { IndicatorOptions::learned() } else { IndicatorOptions::default() };
        let precisions = self.precisions.as_ref().map(|all| all.iter().map(|text| text.parse()).collect());
        Ok(IndicatorOptions {
            indicator,
            precisions: precisions.transpose()?.unwrap_or(default.precisions),
            activation_bits: self.act_bits.clone().unwrap_or(default.activation_bits),
            range: self.range.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            measured: self.measure,
            ..default
        })
    }
}

/// What a plan may use, and which is sought.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct BudgetWish {
    max_size: Option<u64>,
    compression_ratio: Option<f64>,
    mean_bits: Option<f64>,
    bit_ops: Option<u64>,
    levels: Option<(f64, f64)>,
    max_multiplications: Option<u64>,
    max_largest_activation: Option<u64>,
    max_total_activation: Option<u64>,
    alpha: Option<f64>,
    outliers: String,
}

impl BudgetWish {
    fn budgets(&self) -> Budgets {
        Budgets {
            max_size: self.max_size,
            compression_ratio: self.compression_ratio,
            mean_bits: self.mean_bits,
            bit_ops: self.bit_ops,
            levels: self.levels.map(|(weight, activation)| UniformBits { weight, activation }),
            max_multiplications: self.max_multiplications,
            max_largest_activation: self.max_largest_activation,
            max_total_activation: self.max_total_activation,
        }
    }

    fn options(&self) -> PyResult<PlanOptions> {
        let outliers = match self.outliers.as_str() {
            "auto" => Outliers::Auto,
            "forbid" => Outliers::Forbid,
            "keep" => Outliers::Keep,
            other => return Err(argument(format!("`outliers = {other}`: give auto, forbid or keep"))),
        };
        let options = PlanOptions { alpha: self.alpha, outliers, reversed: false };
        options.check().map_err(exception)?;
        Ok(options)
    }
}

/// Where indicators come from.
#[derive(FromPyObject)]
pub enum IndicatorSource {
    /// A network, and images.
    #[pyo3(transparent)]
    Network((Py<Network>, Py<Images>)),
    /// A file.
    #[pyo3(transparent)]
    File(PathBuf),
}

/// Finds what every precision costs in every layer, or reads it, and the plan with the least predicted damage.
#[pyfunction]
#[pyo3(signature = (source, wish, budgets, threads=None, report=None))]
pub fn plan(
    py: Python<'_>,
    source: IndicatorSource,
    wish: IndicatorWish,
    budgets: BudgetWish,
    threads: Option<usize>,
    report: Option<Py<PyAny>>,
) -> PyResult<Plan> {
    let options = budgets.options()?;
    let budgets = budgets.budgets();
    budgets.check().map_err(exception)?;
    let found = match source {
        IndicatorSource::File(path) => fgq::read_indicators(&path).map_err(exception)?,
        IndicatorSource::Network((network, images)) => {
            let (network, images) = (network.get(), images.get());
            watched(py, threads, report.as_ref(), |progress| indicators(network, images, &wish, progress))?
        }
    };
    py.detach(|| fgq::plan(&found, &budgets, &options)).map(Plan).map_err(exception)
}

fn indicators(
    network: &Network,
    images: &Images,
    wish: &IndicatorWish,
    progress: &dyn fgq::Progress,
) -> fgq::Result<Indicators> {
    let mut options = wish.options()?;
    let outputs = network.output_count()?;
    options.classes = images.names(outputs).or_else(|| fgq::class_names(outputs)).unwrap_or_default();
    let known = known(network, wish.file.as_deref())?;
    if known.complete && known.method == options.method() {
        return Ok(known);
    }
    let mut save = |found: &Indicators| wish.file.as_deref().map_or(Ok(()), |file| found.write(file));
    let (graph, preprocess) = (network.graph.clone(), &network.preprocess);
    fgq::indicate(graph, preprocess, images.source(), &options, known, &mut save, progress)
}

/// What the file holds for this network; nothing yet if there is no file.
fn known(network: &Network, file: Option<&std::path::Path>) -> fgq::Result<Indicators> {
    let (source, network_sha256) = network.source.clone();
    match file.filter(|file| file.exists()) {
        None => Ok(Indicators { source, network_sha256, ..Indicators::default() }),
        Some(file) => {
            let known = fgq::read_indicators(file)?;
            if known.network_sha256 == network_sha256 {
                return Ok(known);
            }
            let message = "holds indicators of another network; give another file with `indicators`";
            Err(fgq::Error::new(fgq::ErrorKind::Argument, message).at_path(file))
        }
    }
}

/// Names of the layers that there is a choice for.
#[pyfunction]
pub fn plannable_layers(py: Python<'_>, network: Py<Network>, wish: IndicatorWish) -> PyResult<Vec<String>> {
    let network = network.get();
    let found = py.detach(|| fgq::candidates(network.graph.clone(), &network.preprocess, &wish.options()?));
    Ok(found.map_err(exception)?.layers.into_iter().map(|layer| layer.name).collect())
}

/// Indicators of some layers, as JSON.
#[pyfunction]
#[pyo3(signature = (network, images, wish, only, threads=None))]
pub fn partial_indicators(
    py: Python<'_>,
    network: Py<Network>,
    images: Py<Images>,
    wish: IndicatorWish,
    only: Vec<String>,
    threads: Option<usize>,
) -> PyResult<String> {
    let (network, images) = (network.get(), images.get());
    let found = watched(py, threads, None, |progress| {
        let options = IndicatorOptions { only: Some(only), ..wish.options()? };
        let (source, network_sha256) = network.source.clone();
        let known = Indicators { source, network_sha256, ..Indicators::default() };
        let (graph, preprocess) = (network.graph.clone(), &network.preprocess);
        fgq::indicate(graph, preprocess, images.source(), &options, known, &mut |_| Ok(()), progress)
    })?;
    Ok(serde_json::to_string(&found).unwrap_or_default())
}

/// Puts the layers of several parts together in one file.
#[pyfunction]
pub fn join_indicators(parts: Vec<String>, path: PathBuf) -> PyResult<()> {
    let mut joined: Option<Indicators> = None;
    for part in &parts {
        let part = Indicators::from_json(part).map_err(exception)?;
        match &mut joined {
            Some(joined) => joined.layers.extend(part.layers),
            None => joined = Some(part),
        }
    }
    joined.unwrap_or_default().write(&path).map_err(exception)
}
