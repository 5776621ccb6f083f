//! The sampler's part of a recipe: where a step leaves candidates, and what is done with them (`ABI.md`, "Recipes").

use super::Sampler;
use crate::abi::Result;
use crate::params::Step;
use crate::recipe::{SAMPLER_MIN_P, SAMPLER_TEMPERATURE, SAMPLER_TOP_K, SAMPLER_TOP_P};
use alloc::vec::Vec;

impl Sampler {
    /// Count of candidates (0: greedy), their buffers, and the temperature that the sums were made with.
    pub fn candidates(&self) -> [u32; 5] {
        let [ids, values, sums] = self.top_k.handles();
        match (self.key.top_k, self.key.full > 0.0) {
            (0, _) => [0; 5],
            (k, true) => [k, ids, values, sums + 1, self.settings.temp.to_bits()],
            (k, false) => [k, ids, values, 0, self.settings.temp.to_bits()],
        }
    }

    /// The chain: for each sampler its code and its setting.
    pub fn chain(&self) -> Result<Vec<u32>> {
        let s = &self.settings;
        let greedy = self.key.top_k == 0;
        if self.key.penalties > 0 || self.key.dry > 0 {
            return Err(unknown("penalties of repetitions"));
        }
        if !greedy && s.mirostat.version > 0 {
            return Err(unknown("mirostat"));
        }
        let mut words = Vec::new();
        for step in s.samplers.iter().filter(|_| !greedy) {
            words.extend(match step {
                Step::TopK => [SAMPLER_TOP_K, s.top_k],
                Step::TopP => [SAMPLER_TOP_P, s.top_p.to_bits()],
                Step::MinP => [SAMPLER_MIN_P, s.min_p.to_bits()],
                Step::Temperature if s.dynatemp_range <= 0.0 => {
                    [SAMPLER_TEMPERATURE, s.temp.to_bits()]
                }
                Step::Temperature => return Err(unknown("dynatemp")),
                Step::TopNSigma => return Err(unknown("top_n_sigma")),
                Step::Typical => return Err(unknown("typical_p")),
                Step::Xtc => return Err(unknown("XTC")),
                Step::Penalties | Step::Dry => continue,
            });
        }
        Ok(words)
    }
}

fn unknown(what: &str) -> crate::abi::Fail {
    fail!(UNSUPPORTED, "images do not know {what}")
}
