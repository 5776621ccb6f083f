//! The graph of a llama: read from the model, and recorded as a program.

use crate::BATCH;
use crate::realm::{
    self, Header, KvDesc, Line, Op, Reg, Result, Tensor, Value, fail, value, weight,
};
use core::mem::{offset_of, size_of};

/// Most layers, so many operations of each, and those at both ends.
const MOST_LAYERS: usize = 40;
const LAYER_OPS: usize = 15;
const MOST_OPS: usize = MOST_LAYERS * LAYER_OPS + 5;

// Registers: tokens of the step, the position of the first, and the row of the last.
const N: u32 = realm::register(0);
const POSITION: u32 = realm::register(1);
const LAST: u32 = realm::register(2);

// Values. Layers write them one after the other, so that there is one of each.
const X: u32 = value(0);
const NORMED: u32 = value(1);
const Q: u32 = value(2);
const K: u32 = value(3);
const V: u32 = value(4);
const MIXED: u32 = value(5);
const OUT: u32 = value(6);
const GATE: u32 = value(7);
const UP: u32 = value(8);
const ROW: u32 = value(9);
const VALUES: usize = 10;

/// Header, registers, values and operations without gaps: as it is recorded, so the host reads it.
#[repr(C)]
struct Program {
    header: Header,
    regs: [Reg; 3],
    values: [Value; VALUES],
    ops: [Op; MOST_OPS],
}

/// What is known of the model, and handles.
pub struct Graph {
    pub model: u32,
    /// Positions of the context.
    pub ctx: u32,
    program: Program,
    handle: u32,
    /// i32 `[BATCH, 1]`: ids of the step's tokens.
    tokens: u32,
    /// i32 `[1, 1]`: the id that it has chosen.
    next: u32,
}

/// Sizes of a model.
struct Sizes {
    n_layer: u32,
    n_embd: u32,
    n_head: u32,
    n_head_kv: u32,
    head: u32,
    n_rot: u32,
    eps: f32,
    freq_base: f32,
    n_ctx_train: u32,
}

fn need<T>(found: Option<T>, name: &str) -> Result<T> {
    found.ok_or_else(|| fail(realm::NOT_FOUND, format_args!("the model has no {name}")))
}

fn sizes(model: u32) -> Result<Sizes> {
    if realm::meta_is(model, "general.architecture", "llama")? != Some(true) {
        return Err(fail(
            realm::UNSUPPORTED,
            format_args!("this guest knows no architecture but llama"),
        ));
    }
    if realm::meta_is(model, "llama.rope.scaling.type", "none")? == Some(false) {
        return Err(fail(
            realm::UNSUPPORTED,
            format_args!("this guest knows no scaling of positions"),
        ));
    }
    let number = |key| realm::meta_u32(model, key);
    let n_embd = need(number("llama.embedding_length")?, "llama.embedding_length")?;
    let n_head = need(
        number("llama.attention.head_count")?,
        "llama.attention.head_count",
    )?;
    if n_head == 0 || n_embd % n_head != 0 {
        return Err(fail(
            realm::INVALID_ARGUMENT,
            format_args!("{n_head} heads of {n_embd} in all"),
        ));
    }
    let head = number("llama.attention.key_length")?.unwrap_or(n_embd / n_head);
    let eps = "llama.attention.layer_norm_rms_epsilon";
    Ok(Sizes {
        n_layer: need(number("llama.block_count")?, "llama.block_count")?,
        n_embd,
        n_head,
        n_head_kv: number("llama.attention.head_count_kv")?.unwrap_or(n_head),
        head,
        n_rot: number("llama.rope.dimension_count")?.unwrap_or(head),
        eps: need(realm::meta_f32(model, eps)?, eps)?,
        freq_base: realm::meta_f32(model, "llama.rope.freq_base")?.unwrap_or(10000.0),
        n_ctx_train: need(number("llama.context_length")?, "llama.context_length")?,
    })
}

/// 1 / sqrt(n), by Newton's steps from below: WebAssembly has the instruction, Rust's core not the function.
fn one_by_root(n: u32) -> f32 {
    let n = f64::from(n.max(1));
    let mut y = 1.0 / n;
    for _ in 0..64 {
        y *= 1.5 - 0.5 * n * y * y;
    }
    y as f32
}

impl Graph {
    pub const NONE: Self = Self {
        model: 0,
        ctx: 0,
        program: Program {
            header: Header::ZERO,
            regs: [Reg::new(0, 0); 3],
            values: [Value::new(0, 0); VALUES],
            ops: [Op::ZERO; MOST_OPS],
        },
        handle: 0,
        tokens: 0,
        next: 0,
    };

    /// Reads the model, and makes buffers, cache layers and the program.
    pub fn open(&mut self, model: u32, ctx: Option<u32>) -> Result<()> {
        let s = sizes(model)?;
        self.model = model;
        self.ctx = ctx.unwrap_or(s.n_ctx_train.clamp(1, crate::DEFAULT_CTX));
        self.tokens = realm::buffer(realm::I32, 1, BATCH as u32)?;
        self.next = realm::buffer(realm::I32, 1, 1)?;
        self.record(&s)?;
        let len =
            offset_of!(Program, ops) + self.program.header.op_count as usize * size_of::<Op>();
        self.handle = realm::program_create(&self.program, len)?;
        Ok(())
    }

    /// Books the step of these tokens, of which the first is at `position`.
    pub fn submit(&self, tokens: &[u32], position: u32) -> Result<()> {
        realm::write(self.tokens, tokens)?;
        let n = tokens.len() as u32;
        realm::submit(self.handle, &[n, position, n - 1])
    }

    /// The token that the step has chosen.
    pub fn chosen(&self) -> Result<u32> {
        realm::read(self.next)
    }

    fn tensor(&self, name: core::fmt::Arguments<'_>) -> Result<Option<Tensor>> {
        realm::tensor(self.model, &Line::new(name))
    }

    fn op<const S: usize, const P: usize>(
        &mut self,
        code: u16,
        dst: u32,
        src: [u32; S],
        param: [u32; P],
    ) {
        let at = self.program.header.op_count as usize;
        self.program.ops[at] = Op::new(code, dst, src, param);
        self.program.header.op_count += 1;
    }

    fn record(&mut self, s: &Sizes) -> Result<()> {
        if s.n_layer as usize > MOST_LAYERS {
            return Err(fail(
                realm::LIMIT,
                format_args!(
                    "{} layers, this guest has room for {MOST_LAYERS}",
                    s.n_layer
                ),
            ));
        }
        let table = need(
            self.tensor(format_args!("token_embd.weight"))?,
            "token_embd.weight",
        )?;
        let output = self.tensor(format_args!("output.weight"))?.unwrap_or(table);
        let norm = need(
            self.tensor(format_args!("output_norm.weight"))?,
            "output_norm.weight",
        )?;
        let ff = need(
            self.tensor(format_args!("blk.0.ffn_up.weight"))?,
            "blk.0.ffn_up.weight",
        )?
        .rows;
        let (d, q, kv) = (s.n_embd, s.n_head * s.head, s.n_head_kv * s.head);
        let most = BATCH as u32;
        self.program.header = Header {
            magic: realm::MAGIC,
            minor: 2,
            reg_count: 3,
            value_count: VALUES as u32,
            model_id: self.model,
            ..Header::ZERO
        };
        self.program.regs = [
            Reg::new(1, most),
            Reg::new(0, self.ctx - 1),
            Reg::new(0, most - 1),
        ];
        // In the order of their numbers above.
        self.program.values = [d, d, q, kv, kv, q, d, ff, ff, d].map(|cols| Value::new(N, cols));
        self.program.values[VALUES - 1].rows = 1;

        self.op(
            realm::GET_ROWS,
            X,
            [weight(table), realm::session_buffer(self.tokens)],
            [0],
        );
        for il in 0..s.n_layer {
            self.layer(s, il)?;
        }
        // What comes next depends on the last row only.
        let logits = realm::buffer(realm::F32, output.rows, 1)?;
        realm::publish_logits(logits)?;
        let logits = realm::session_buffer(logits);
        self.op(realm::CPY, ROW, [X], [LAST, 0, 1]);
        self.op(realm::RMS_NORM, ROW, [ROW, weight(norm)], [s.eps.to_bits()]);
        self.op(realm::MUL_MAT, logits, [weight(output), ROW], []);
        self.op(
            realm::ARGMAX,
            realm::session_buffer(self.next),
            [logits],
            [],
        );
        Ok(())
    }

    fn layer(&mut self, s: &Sizes, il: u32) -> Result<()> {
        let cache = realm::kv_create(&KvDesc {
            kind: realm::F32,
            n_head_kv: s.n_head_kv,
            head_dim_k: s.head,
            head_dim_v: s.head,
            max_positions: self.ctx,
            group: 0,
            window: 0,
        })?;
        let w = |graph: &Self, name: &str| {
            let found = graph.tensor(format_args!("blk.{il}.{name}.weight"))?;
            need(found, name).map(weight)
        };
        let factors = self
            .tensor(format_args!("rope_freqs.weight"))?
            .map_or(realm::NONE, weight);
        let one = 1f32.to_bits();
        // Position, heads, rotated part, base and scale of frequencies; no YaRN.
        let rope = [
            POSITION,
            s.head,
            s.n_rot,
            s.freq_base.to_bits(),
            one,
            0,
            one,
            0,
            0,
            s.n_ctx_train,
        ];

        let norm = w(self, "attn_norm")?;
        self.op(realm::RMS_NORM, NORMED, [X, norm], [s.eps.to_bits()]);
        for (to, name) in [(Q, "attn_q"), (K, "attn_k"), (V, "attn_v")] {
            let matrix = w(self, name)?;
            self.op(realm::MUL_MAT, to, [matrix, NORMED], []);
        }
        self.op(realm::ROPE, Q, [Q, factors], rope);
        self.op(realm::ROPE, K, [K, factors], rope);
        let attend = [POSITION, s.n_head, one_by_root(s.head).to_bits()];
        self.op(
            realm::FLASH_ATTN_EXT,
            MIXED,
            [Q, K, V, realm::kv(cache)],
            attend,
        );
        let matrix = w(self, "attn_output")?;
        self.op(realm::MUL_MAT, OUT, [matrix, MIXED], []);
        self.op(realm::ADD, X, [X, OUT], []);

        let (norm, gate, up) = (
            w(self, "ffn_norm")?,
            w(self, "ffn_gate")?,
            w(self, "ffn_up")?,
        );
        self.op(realm::RMS_NORM, NORMED, [X, norm], [s.eps.to_bits()]);
        self.op(realm::MUL_MAT, GATE, [gate, NORMED], []);
        self.op(realm::MUL_MAT, UP, [up, NORMED], []);
        self.op(realm::GLU, GATE, [GATE, UP], [2]); // silu
        let matrix = w(self, "ffn_down")?;
        self.op(realm::MUL_MAT, OUT, [matrix, GATE], []);
        self.op(realm::ADD, X, [X, OUT], []);
        Ok(())
    }
}
