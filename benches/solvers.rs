//! Ways to solve through the fine-tuned blocks of a transferred model: products and seconds to a relative residual, and how
//! well approximations rank. One CSV row for each way; analysis/solvers/README.md says what was seen.
//!
//! `cargo bench --bench solvers -- MODEL BLOCKS QUERIES IMAGES DAMPING,… WAY,…` with a folder left by `ascribe transfer`, the
//! number of evenly spaced test images, and of its training images the first so many (0: all).

use ascribe::artefact::RunFolder;
use ascribe::data::Dataset;
use ascribe::derivative::network::{Curvature, Examples, Keeping, Network, RootKind};
use ascribe::model::{Blocks, read_model};
use ascribe::operator::{
    Damped, Eigenvalues, KroneckerForm, KroneckerSettings, LinearOperator, NetworkCurvature,
    Structure, SymmetricMatrix, Vectors,
};
use ascribe::solve::{Cg, Ekfac, Identity, Solution, Solver};
use candle_core::{DType, Device};
use std::path::Path;
use std::time::Instant;

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Bytes for passes that are kept, and for the rows of a low rank.
const MEMORY: u64 = 2 << 30;
const ROW_BYTES: u64 = 1 << 29;
/// Relative residual that is asked for, and that of the near-exact solve.
const TOLERANCE: f64 = 1e-3;
const NEAR_EXACT: f64 = 1e-5;
/// Ranks whose overlap is counted.
const TOP: usize = 100;

/// An operator that knows another form, or none.
struct WithForm<'a> {
    operator: &'a NetworkCurvature<'a>,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    None,
    Kfac,
    Ekfac,
    LowRank,
    Both,
}

impl LinearOperator for WithForm<'_> {
    fn size(&self) -> usize {
        self.operator.size()
    }

    fn structure(&self) -> Structure {
        self.operator.structure()
    }

    fn apply(&self, vectors: &Vectors) -> ascribe::Result<Vectors> {
        self.operator.apply(vectors)
    }

    fn dtype(&self) -> DType {
        self.operator.dtype()
    }

    fn dense(&self, dtype: DType) -> ascribe::Result<SymmetricMatrix> {
        self.operator.dense(dtype)
    }

    fn diagonal(&self) -> ascribe::Result<Vec<f64>> {
        self.operator.diagonal()
    }

    fn ekfac(&self) -> ascribe::Result<Option<KroneckerForm>> {
        let eigenvalues = match self.form {
            Form::None | Form::LowRank => None,
            Form::Kfac => Some(Eigenvalues::Product),
            Form::Ekfac | Form::Both => Some(Eigenvalues::Corrected),
        };
        let rows = matches!(self.form, Form::LowRank | Form::Both);
        if eigenvalues.is_none() && !rows {
            return Ok(None);
        }
        let network = self.operator.network();
        let settings = KroneckerSettings {
            roots: RootKind::for_classes(network.class_count(), 0),
            eigenvalues,
            row_bytes: if rows { ROW_BYTES } else { 0 },
            seed: 0,
        };
        let positions: Vec<u32> = (0..self.operator.examples().count() as u32).collect();
        let images = (self.operator.examples(), &positions[..]);
        let form = KroneckerForm::of_network(network, images, &settings)?;
        Ok(Some(form.shifted(self.operator.l2())))
    }

    fn low_rank(&self) -> ascribe::Result<Option<KroneckerForm>> {
        match self.form {
            Form::LowRank => self.operator.low_rank(),
            _ => self.ekfac(),
        }
    }
}

/// A way by its name: the form, and the solver.
fn way(name: &str) -> Outcome<(Form, Box<dyn Solver>)> {
    let cg = |tolerance, preconditioned| -> Box<dyn Solver> {
        Box::new(Cg {
            tolerance,
            iterations: 1000,
            preconditioned,
        })
    };
    Ok(match name {
        "near-exact" => (Form::LowRank, cg(NEAR_EXACT, true)),
        "cg" => (Form::None, cg(TOLERANCE, false)),
        "cg+diagonal" => (Form::None, cg(TOLERANCE, true)),
        "cg+kfac" => (Form::Kfac, cg(TOLERANCE, true)),
        "cg+ekfac" => (Form::Ekfac, cg(TOLERANCE, true)),
        "cg+low-rank" => (Form::LowRank, cg(TOLERANCE, true)),
        "cg+ekfac+low-rank" => (Form::Both, cg(TOLERANCE, true)),
        "identity" => (Form::None, Box::new(Identity)),
        "kfac" => (Form::Kfac, Box::new(Ekfac)),
        "ekfac" => (Form::Ekfac, Box::new(Ekfac)),
        "low-rank" => (Form::LowRank, Box::new(Ekfac)),
        "ekfac+low-rank" => (Form::Both, Box::new(Ekfac)),
        _ => return Err(format!("no way named {name}").into()),
    })
}

struct Setting {
    train: Examples,
    network: Network,
    gradients: Vectors,
    l2: f64,
}

fn open(folder: &Path, blocks: Blocks, queries: usize, images: usize) -> Outcome<Setting> {
    let record = RunFolder::read(folder)?;
    let dataset = |role: &str| -> Outcome<Dataset> {
        let input = record.input(role).ok_or("the run has no such input")?;
        Ok(Dataset::open(&input.path)?)
    };
    let mut ids: Vec<usize> = record.result("train_ids")?;
    if images > 0 {
        ids.truncate(images);
    }
    let model = read_model(&folder.join("model.safetensors"), &Device::Cpu)?;
    let compute = |dataset: &Dataset, ids: &[usize]| {
        let keeping = Keeping::default();
        Examples::compute((&model, blocks), dataset, ids, &keeping, &mut |_| {})
    };
    let (train, test) = (dataset("train")?, dataset("test")?);
    let train = compute(&train, &ids)?;
    let spaced: Vec<usize> = (0..queries).map(|at| at * test.len() / queries).collect();
    let test = compute(&test, &spaced)?;
    let network = Network::new(&model, blocks, &train)?;
    let positions: Vec<u32> = (0..queries as u32).collect();
    let gradients = Vectors::new(network.example_gradients(&test, &positions)?)?;
    Ok(Setting {
        l2: record.option("l2")?,
        train,
        network,
        gradients,
    })
}

/// Scores of the solutions, `[queries][images]`.
fn scores(setting: &Setting, solution: &Solution) -> Outcome<Vec<Vec<f64>>> {
    let positions: Vec<u32> = (0..setting.train.count() as u32).collect();
    let value = solution.value.tensor();
    let products = setting
        .network
        .example_products(&setting.train, &positions, value)?;
    Ok(products.to_vec2::<f64>()?)
}

fn order(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Spearman's correlation of the scores, and the share of the first ranks in common; means over queries.
fn agreement(found: &[Vec<f64>], exact: &[Vec<f64>]) -> (f64, f64) {
    let (mut spearman, mut overlap) = (0.0, 0.0);
    for (found, exact) in found.iter().zip(exact) {
        let (found, exact) = (order(found), order(exact));
        let count = found.len() as f64;
        let mut rank = vec![0.0; found.len()];
        (0..found.len()).for_each(|at| rank[found[at]] = at as f64);
        let squares: f64 = (exact.iter().enumerate())
            .map(|(at, &image)| (rank[image] - at as f64).powi(2))
            .sum();
        spearman += 1.0 - 6.0 * squares / (count * (count * count - 1.0));
        let top = TOP.min(found.len());
        let common = found[..top]
            .iter()
            .filter(|image| exact[..top].contains(image));
        overlap += common.count() as f64 / top as f64;
    }
    let count = exact.len() as f64;
    (spearman / count, overlap / count)
}

fn main() -> Outcome<()> {
    ascribe::start_with_best_kernels();
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let [folder, blocks, queries, images, dampings, ways] = &words[..] else {
        println!("solvers: MODEL BLOCKS QUERIES IMAGES DAMPING,… WAY,…; nothing measured");
        return Ok(());
    };
    let (folder, blocks) = (Path::new(folder), blocks.parse()?);
    let setting = open(folder, blocks, queries.parse()?, images.parse()?)?;
    let curvature = NetworkCurvature::new(
        &setting.network,
        &setting.train,
        Curvature::GaussNewton,
        setting.l2,
        MEMORY,
    )?;
    // The first product makes the passes that later ones share.
    curvature.apply(&setting.gradients.narrow(0..1)?)?;
    println!(
        "model,damping,way,queries,iterations,products,prepare_s,solve_s,residual,spearman,top100"
    );
    for damping in dampings.split(',') {
        let mut exact = None;
        for name in ways.split(',') {
            let (form, solver) = way(name)?;
            let operator = WithForm {
                operator: &curvature,
                form,
            };
            let damped = Damped::new(&operator, damping.parse()?)?;
            let started = Instant::now();
            let inverse = solver.prepare(&damped)?;
            let prepare = started.elapsed().as_secs_f64();
            let started = Instant::now();
            let solution = inverse.solve(&setting.gradients)?;
            let solve = started.elapsed().as_secs_f64();
            eprintln!("{name}: {:?}", inverse.notes());
            let iterations = solution
                .reports
                .iter()
                .map(|report| report.iterations)
                .max();
            let residual = solution
                .reports
                .iter()
                .map(|report| report.residual)
                .fold(0.0, f64::max);
            let found = scores(&setting, &solution)?;
            let exact = exact.get_or_insert_with(|| found.clone());
            let (spearman, overlap) = agreement(&found, exact);
            println!(
                "{},{damping},{name},{},{},{},{prepare:.1},{solve:.1},{residual:.1e},{spearman:.4},{overlap:.3}",
                folder.file_name().unwrap_or_default().to_string_lossy(),
                solution.reports.len(),
                iterations.unwrap_or(0),
                solution.products,
            );
        }
    }
    Ok(())
}
