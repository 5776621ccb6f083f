//! Activations, element by element: `act(x)`, `act(gate) * up` and the soft cap.
//!
//! The functions are [`crate::num::math`]'s. `act(gate) * up` rounds the activation, then the product.
//! The soft cap is `c * tanh(x / c)`: division, tanh, product.
//!
//! gpt-oss's clamped gate: `x = gate < limit ? gate : limit` (a NaN gives the limit), `y` = `up` between `-limit` and
//! `limit`, alike; `(x * sigmoid(alpha * x)) * (1 + y)`, each operation rounded.

use crate::graph::op::ALL_OPS;
use crate::num::cpu::{Isa, instances};
use crate::num::math;

/// An activation, by its number in the guest ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Act {
    /// `x > 0 ? x : 0`; a NaN gives 0.
    Relu = 0,
    /// [`math::gelu_tanh`]
    GeluTanh = 1,
    /// [`math::silu`]
    Silu = 2,
    /// [`math::gelu_erf`]
    GeluErf = 3,
    /// [`math::gelu_quick`]
    GeluQuick = 4,
    /// [`math::tanh`], not for GLU.
    Tanh = 5,
    /// [`math::sigmoid`], not for GLU.
    Sigmoid = 6,
}

impl Act {
    /// The activation with this number.
    pub fn from_id(id: u32) -> Option<Self> {
        use Act::*;
        [Relu, GeluTanh, Silu, GeluErf, GeluQuick, Tanh, Sigmoid]
            .into_iter()
            .find(|&a| a as u32 == id)
    }
}

#[inline(always)]
fn relu<I: Isa>(_: I, x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

/// One loop per activation, so that each becomes vector code.
macro_rules! each_act {
    ($act:expr, $f:ident => $loop:expr) => {
        match $act {
            Act::Silu => {
                let $f = math::silu;
                $loop
            }
            // Programs are refused that have others.
            _ if !ALL_OPS => {}
            Act::Relu => {
                let $f = relu;
                $loop
            }
            Act::GeluTanh => {
                let $f = math::gelu_tanh;
                $loop
            }
            Act::GeluErf => {
                let $f = math::gelu_erf;
                $loop
            }
            Act::GeluQuick => {
                let $f = math::gelu_quick;
                $loop
            }
            Act::Tanh => {
                let $f = math::tanh;
                $loop
            }
            Act::Sigmoid => {
                let $f = math::sigmoid;
                $loop
            }
        }
    };
}

#[inline(always)]
fn unary_body<I: Isa>(i: I, act: Act, x: &mut [f32]) {
    each_act!(act, f => for x in x { *x = f(i, *x) });
}

#[inline(always)]
fn glu_body<I: Isa>(i: I, act: Act, gate: &mut [f32], up: &[f32]) {
    each_act!(act, f => for (g, &u) in gate.iter_mut().zip(up) { *g = f(i, *g) * u });
}

#[inline(always)]
fn swiglu_oai_body<I: Isa>(i: I, [alpha, limit]: [f32; 2], gate: &mut [f32], up: &[f32]) {
    for (g, &u) in gate.iter_mut().zip(up) {
        let x = if *g < limit { *g } else { limit };
        let y = if u < limit { u } else { limit };
        let y = if y > -limit { y } else { -limit };
        *g = x * math::sigmoid(i, alpha * x) * (1.0 + y);
    }
}

#[inline(always)]
fn softcap_body<I: Isa>(i: I, c: f32, x: &mut [f32]) {
    for x in x {
        *x = c * math::tanh(i, *x / c);
    }
}

instances! {
    /// `x = act(x)`.
    pub fn unary / unary_at(act: Act, x: &mut [f32]) = unary_body
}
instances! {
    /// `gate = act(gate) * up`.
    pub fn glu / glu_at(act: Act, gate: &mut [f32], up: &[f32]) = glu_body
}
/// The number of the clamped gate among GLU's kinds, in the guest ABI.
pub const SWIGLU_OAI: u32 = 7;

instances! {
    /// The clamped gate, in place of the first operand.
    pub fn swiglu_oai / swiglu_oai_at(by: [f32; 2], gate: &mut [f32], up: &[f32]) = swiglu_oai_body
}
instances! {
    /// `x = c * tanh(x / c)`.
    pub fn softcap / softcap_at(c: f32, x: &mut [f32]) = softcap_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::cpu::Level;
    use crate::num::tests::{Rng, same, same_all};

    #[test]
    fn instances_and_slices_agree() {
        let mut r = Rng::new(1);
        for n in [0, 1, 5, 16, 33, 257] {
            let (x, up) = (r.normals(n), r.normals(n));
            for id in 0..7 {
                let act = Act::from_id(id).unwrap();
                let (mut p, mut w) = (x.clone(), x.clone());
                unary_at(Level::portable(), act, &mut p);
                unary(act, &mut w);
                same_all(&p, &w, "unary");
                let mut g = x.clone();
                glu_at(Level::portable(), act, &mut g, &up);
                let mut parts = x.clone();
                let cut = n / 3;
                glu(act, &mut parts[..cut], &up[..cut]);
                glu(act, &mut parts[cut..], &up[cut..]);
                same_all(&g, &parts, "glu");
                for ((&a, &u), &g) in p.iter().zip(&up).zip(&g) {
                    same(a * u, g, "glu is the product");
                }
            }
            let (mut p, mut w) = (x.clone(), x.clone());
            swiglu_oai_at(Level::portable(), [1.702, 0.5], &mut p, &up);
            swiglu_oai([1.702, 0.5], &mut w, &up);
            same_all(&p, &w, "clamped gate");
            for ((&x, &u), &y) in x.iter().zip(&up).zip(&p) {
                let (x, u) = (f64::from(x).min(0.5), f64::from(u).clamp(-0.5, 0.5));
                let want = x / (1.0 + libm::exp(-f64::from(1.702f32) * x)) * (1.0 + u);
                assert!((f64::from(y) - want).abs() <= 1e-6 * (1.0 + want.abs()));
            }
            let (mut p, mut w) = (x.clone(), x.clone());
            softcap_at(Level::portable(), 30.0, &mut p);
            softcap(30.0, &mut w);
            same_all(&p, &w, "softcap");
            for (&x, &y) in x.iter().zip(&p) {
                let want = 30.0 * libm::tanh(f64::from(x) / 30.0);
                assert!((f64::from(y) - want).abs() <= 2e-7 * want.abs());
            }
        }
        assert_eq!(Act::from_id(7), None);
    }
}
