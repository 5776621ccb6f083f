//! Picks tokens as the guest does, by the guest's own source: the same candidates, random numbers and bits, and the same ends.

use super::recipe::{Sampling, Step};
use crate::err;
use crate::error::Result;
use candidates::{Candidates, LogSum};
use rng::Rng;

macro_rules! guest {
    ($($name:ident = $path:literal;)*) => {
        $(
            #[path = $path]
            #[allow(dead_code, reason = "the guest does more with it")]
            pub mod $name;
        )*
    };
}

guest! {
    num = "../../../guest/src/num.rs";
    recipe = "../../../guest/src/recipe.rs";
    rng = "../../../guest/src/rng.rs";
    stop = "../../../guest/src/stop.rs";
    unsay = "../../../guest/src/unsay.rs";
    candidates = "../../../guest/src/sample/candidates.rs";
    dist = "../../../guest/src/sample/dist.rs";
    min_p = "../../../guest/src/sample/min_p.rs";
    temp = "../../../guest/src/sample/temp.rs";
    top_p = "../../../guest/src/sample/top_p.rs";
}

/// What is said where nothing can be picked.
#[cold]
pub fn no_numbers() -> crate::error::Error {
    err!(
        Format,
        "the model's logits are no numbers: its weights are damaged"
    )
}

/// The rank of the candidate that is drawn. `fetch` reads logits from a rank on, `sums` are those of the recipe.
pub fn draw(
    sampling: &Sampling,
    sums: Option<[f32; 2]>,
    fetch: candidates::Fetch<'_>,
    rng: &mut Rng,
) -> Result<u32> {
    let sums = match sums {
        Some([plain, tempered]) => [(1.0, plain), (1.0 / f64::from(sampling.temp), tempered)]
            .map(|(scale, value)| Some(LogSum { scale, value })),
        None => [None, None],
    };
    let mut c = Candidates::new(sampling.count, sums, fetch)?;
    if c.best().is_nan() {
        return Err(no_numbers());
    }
    for step in &sampling.steps {
        match *step {
            Step::TopK(k) => c.keep(k),
            Step::TopP(p) => top_p::apply(&mut c, p)?,
            Step::MinP(p) => min_p::apply(&mut c, p)?,
            Step::Temperature(t) => temp::apply(&mut c, f64::from(t)),
        }
    }
    let u = rng.uniform();
    dist::pick(&mut c, u)
}
