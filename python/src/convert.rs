//! Conversion.

use crate::errors::argument;
use crate::images::Images;
use crate::model::{Made, Model};
use crate::network::Network;
use crate::plan::Plan;
use crate::work::watched;
use fgq::{ActivationRule, ConvertOptions, Goal, Pattern, Precision};
use pyo3::prelude::*;
use std::str::FromStr;

/// What a caller asks for; texts are those of the command's options.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Options {
    /// Group sizes of 1×1 and of larger kernels; none, if precisions are to be chosen.
    group: Option<(usize, Option<usize>)>,
    scale_bits: u8,
    method: Option<String>,
    overrides: Vec<(String, String)>,
    act_bits: u8,
    act: Vec<(String, String)>,
    range: Option<String>,
    channel_ranges: bool,
    keep_order: bool,
    keep: Option<f64>,
    max_drop: Option<f64>,
    budget: Option<u64>,
    nested: Option<String>,
    nested_act: Vec<u8>,
    settings: Vec<(String, f64)>,
}

impl Options {
    /// The options of the library that they mean.
    fn resolved(&self, plan: Option<&Plan>) -> fgq::Result<ConvertOptions> {
        let (group, spatial_group) = self.group.unwrap_or((4, None));
        Ok(ConvertOptions {
            group,
            spatial_group,
            scale_bits: self.scale_bits,
            method: self.method.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            plan: plan.map(|plan| plan.0.clone()),
            overrides: assigned::<Precision>(&self.overrides)?,
            activation_bits: self.act_bits,
            range: self.range.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            channel_ranges: self.channel_ranges,
            reorder: !self.keep_order,
            rules: assigned::<ActivationRule>(&self.act)?,
            nested: self.nested_precision()?,
            nested_activations: self.nested_act.clone(),
            settings: self.settings.clone(),
            ..ConvertOptions::default()
        })
    }

    fn nested_precision(&self) -> fgq::Result<Option<Precision>> {
        self.nested.as_deref().map(|planes| format!("ternary:{planes}").parse()).transpose()
    }

    fn goal(&self, plan: Option<&Plan>, images: usize) -> Option<Goal> {
        let goal = Goal { agreement: self.keep, max_drop: self.max_drop, max_size: self.budget };
        let gives_precisions = self.group.is_some()
            || self.method.is_some()
            || plan.is_some()
            || !self.overrides.is_empty()
            || self.nested.is_some();
        goal.of_conversion(gives_precisions, images)
    }
}

fn assigned<T: FromStr<Err = fgq::Error>>(pairs: &[(String, String)]) -> fgq::Result<Vec<(Pattern, T)>> {
    pairs.iter().map(|(pattern, value)| Ok((pattern.parse()?, value.parse()?))).collect()
}

/// Converts a network as `fgq convert` does.
#[pyfunction]
#[pyo3(signature = (network, images, options, plan=None, classes=None, threads=None, report=None))]
pub fn convert(
    py: Python<'_>,
    network: Py<Network>,
    images: Py<Images>,
    options: Options,
    plan: Option<Py<Plan>>,
    classes: Option<Vec<String>>,
    threads: Option<usize>,
    report: Option<Py<PyAny>>,
) -> PyResult<Model> {
    let (network, images, plan) = (network.get(), images.get(), plan.as_ref().map(Py::get));
    let classes = class_names(network, images, classes)?;
    let (graph, preprocess, source) = (&network.graph, &network.preprocess, images.source());
    let (mut conversion, reached) = watched(py, threads, report.as_ref(), |progress| {
        let resolved = options.resolved(plan)?;
        match options.goal(plan, source.len()) {
            Some(goal) => {
                let reached = fgq::convert_to(graph, preprocess, source, &resolved, &goal, progress)?;
                Ok((reached.conversion, Some(reached.is_reached)))
            }
            None => {
                let made = fgq::convert(graph.clone(), preprocess, source, &resolved, progress)?;
                Ok((made, None))
            }
        }
    })?;
    let model = &mut conversion.model;
    model.classes = classes;
    (model.provenance.source, model.provenance.source_sha256) = network.source.clone();
    model.provenance.options.extend(network.record.iter().cloned());
    Model::made(Made::new(conversion, reached))
}

/// Names of the classes: those given, else those of the folders, else ImageNet's if there are as many outputs.
fn class_names(network: &Network, images: &Images, given: Option<Vec<String>>) -> PyResult<Vec<String>> {
    let outputs = network.output_count().map_err(crate::errors::exception)?;
    if let Some(names) = given {
        if names.len() != outputs {
            let count = names.len();
            return Err(argument(format!("{count} `classes`, but the network has {outputs} outputs")));
        }
        return Ok(names);
    }
    Ok(images.names(outputs).or_else(|| fgq::class_names(outputs)).unwrap_or_default())
}
