//! Round trip of packs: from outcomes to disk and back.

use opentracy_router::fit::{self, FitError, Training};
use opentracy_router::pack::{self, EmbeddingModel};
use opentracy_router::{LabeledOutcome, Matrix, Pack, PackError, Point, matrix};

const DIMENSIONS: usize = 16;

fn vector(random: &mut fastrand::Rng) -> Vec<f32> {
    let mut vector: Vec<f32> = (0..DIMENSIONS).map(|_| random.f32() - 0.5).collect();
    matrix::normalize(&mut vector);
    vector
}

/// Builds prompts around two centers; `wrong` gives a model's error rate around each.
fn training(models: &[(&str, [f64; 2])], count: usize) -> Training {
    let mut random = fastrand::Rng::with_seed(11);
    let centers = [vector(&mut random), vector(&mut random)];
    let mut embeddings = Vec::new();
    let mut outcomes = Vec::new();
    for number in 0..count {
        let side = number % 2;
        let noise = vector(&mut random);
        let mut embedding: Vec<f32> = centers[side]
            .iter()
            .zip(noise)
            .map(|(center, noise)| center + 0.3 * noise)
            .collect();
        matrix::normalize(&mut embedding);
        embeddings.push(embedding);
        for (model, wrong) in models {
            outcomes.push(LabeledOutcome {
                prompt: format!("prompt {number}"),
                model: (*model).to_owned(),
                error: f64::from(random.f64() < wrong[side]),
            });
        }
    }
    Training::collect(outcomes).with_embeddings(embeddings)
}

fn options() -> fit::FitOptions {
    fit::FitOptions {
        embedder: EmbeddingModel {
            model: "test".to_owned(),
            dimensions: DIMENSIONS,
        },
        clusters: 10,
        seed: 1,
        description: "a test".to_owned(),
        source: "made up".to_owned(),
        now: "2026-11-21T00:00:00Z".to_owned(),
    }
}

fn fitted() -> Pack {
    let models = [("a/one", [0.1, 0.9]), ("b/two", [0.8, 0.2])];
    fit::fit(&training(&models, 400), &options()).unwrap()
}

fn errors(pack: &Pack, embedding: &[f32]) -> Vec<f64> {
    let point = Point {
        embedding,
        text: None,
    };
    let assessment = pack.assess(&point).unwrap();
    assessment
        .estimates
        .iter()
        .map(|estimate| estimate.error)
        .collect()
}

/// Returns embeddings around both centers.
fn both_kinds() -> [Vec<f32>; 2] {
    let mut random = fastrand::Rng::with_seed(11);
    [vector(&mut random), vector(&mut random)]
}

#[test]
fn a_fitted_pack_knows_which_model_errs_where() {
    let pack = fitted();
    let [first, second] = both_kinds();
    let (at_first, at_second) = (errors(&pack, &first), errors(&pack, &second));
    assert!(at_first[0] < 0.3 && at_first[1] > 0.6, "{at_first:?}");
    assert!(at_second[0] > 0.7 && at_second[1] < 0.4, "{at_second:?}");
    let calibration = &pack.calibration["a/one"];
    assert!(calibration.brier < calibration.brier_of_mean);
}

#[test]
fn a_pack_on_disk_is_the_pack_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack");
    let pack = fitted();
    let version = pack::save(&pack, &path).unwrap();
    let loaded = pack::load(&path).unwrap();
    assert_eq!(loaded.version, version);
    assert_eq!(loaded, Pack { version, ..pack });
    let again = folder.path().join("again");
    assert_eq!(
        pack::save(&loaded, &again).unwrap(),
        loaded.version,
        "the same content is the same version"
    );
}

#[test]
fn a_damaged_pack_is_refused_whatever_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack");
    pack::save(&fitted(), &path).unwrap();
    let mut files: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.extend(
        std::fs::read_dir(path.join("profiles"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    for file in files.iter().filter(|file| file.is_file()) {
        let good = std::fs::read(file).unwrap();
        for bad in [
            &good[..good.len() / 2],
            &[good.as_slice(), b"x"].concat(),
            b"",
        ] {
            std::fs::write(file, bad).unwrap();
            let error = pack::load(&path).unwrap_err();
            assert!(
                matches!(error, PackError::Damaged { .. }),
                "{file:?}: {error}"
            );
        }
        std::fs::remove_file(file).unwrap();
        assert!(pack::load(&path).is_err());
        std::fs::write(file, good).unwrap();
    }
    assert!(pack::load(&path).is_ok());
}

#[test]
fn a_new_model_needs_its_own_outcomes_only() {
    let pack = fitted();
    let new = training(&[("c/three", [0.05, 0.05])], 200);
    let more = fit::refit_models(&pack, &new, &options()).unwrap();
    assert_eq!(more.clusters, pack.clusters);
    assert_eq!(more.profiles[..2], pack.profiles[..]);
    let [first, second] = both_kinds();
    for embedding in [first, second] {
        assert!(errors(&more, &embedding)[2] < 0.15);
    }
}

#[test]
fn what_nothing_can_be_learned_of_is_refused() {
    let few = training(&[("a/one", [0.1, 0.9])], 10);
    assert_eq!(
        fit::fit(&few, &options()).unwrap_err(),
        FitError::TooFew(10)
    );
    let enough = training(&[("a/one", [0.1, 0.9])], 100);
    let broken = enough
        .clone()
        .with_embeddings(vec![vec![f32::NAN; DIMENSIONS]; 100]);
    assert_eq!(
        fit::fit(&broken, &options()).unwrap_err(),
        FitError::Embeddings
    );
    let longer = enough.with_embeddings(vec![vec![0.5; DIMENSIONS + 1]; 100]);
    assert!(matches!(
        fit::refit_models(&fitted(), &longer, &options()),
        Err(FitError::Dimensions { .. })
    ));
}

#[test]
fn prompts_that_are_all_alike_make_a_pack_too() {
    let outcomes = (0..40).map(|number| LabeledOutcome {
        prompt: format!("{number}"),
        model: "a/one".to_owned(),
        error: 0.0,
    });
    let training = Training::collect(outcomes).with_embeddings(vec![vec![0.25; DIMENSIONS]; 40]);
    let pack = fit::fit(&training, &options()).unwrap();
    assert!(errors(&pack, &[0.25; DIMENSIONS])[0] < 0.2);
    assert_eq!(
        Matrix::from_rows(DIMENSIONS, pack.clusters.centroids().rows()).height(),
        1
    );
}

#[test]
fn more_outcomes_lose_less_against_an_oracle() {
    let regret = |count: usize| {
        let truth = [[0.1, 0.7], [0.5, 0.3], [0.4, 0.45]];
        let models = [("a/a", truth[0]), ("b/b", truth[1]), ("c/c", truth[2])];
        let pack = fit::fit(&training(&models, count), &options()).unwrap();
        let lost = |(side, embedding): (usize, &Vec<f32>)| {
            let errors = errors(&pack, embedding);
            let chosen = (0..3)
                .min_by(|&a, &b| errors[a].total_cmp(&errors[b]))
                .unwrap();
            truth[chosen][side] - truth.iter().map(|model| model[side]).fold(1.0, f64::min)
        };
        both_kinds().iter().enumerate().map(lost).sum::<f64>()
    };
    let learned = regret(800);
    assert!(learned <= regret(40));
    assert_eq!(learned, 0.0);
}
