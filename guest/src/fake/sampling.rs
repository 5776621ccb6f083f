//! The part of a program that samples, run for one row of logits: CPY, and the operations from ARGMAX to LOGSUMEXP.

use super::Host;
use std::collections::BTreeMap;
use std::vec::Vec;

const CPY: u32 = 14;

/// One run of a program.
struct Run<'a> {
    buffers: &'a mut [(u32, u32, u32, Vec<u8>)],
    regs: &'a [u32],
    /// The row of each value, by operand.
    values: BTreeMap<u32, Vec<u32>>,
}

impl Host {
    /// Runs a program from where it copies logits to or from the buffer that is published. Where it copies them to there, the
    /// model, which does not run, comes to these.
    pub(super) fn sample(&mut self, program: u32, regs: &[u32], logits: &[f32]) {
        let words: Vec<u32> = self.programs[program as usize]
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let ops = &words[8 + 4 * (words[2] + words[3]) as usize..];
        let ops: Vec<&[u32]> = ops.chunks_exact(32).take(words[4] as usize).collect();
        let kept = 3 << 28 | self.logits_buffer;
        let begins = |op: &&[u32]| op[0] == CPY && (op[1] == kept || op[2] == kept);
        let start = ops.iter().position(begins).unwrap();
        let mut run = Run {
            buffers: &mut self.buffers,
            regs,
            values: BTreeMap::new(),
        };
        if ops[start][1] == kept {
            let row = logits.iter().map(|x| x.to_bits()).collect();
            run.values.insert(ops[start][2], row);
        }
        ops[start..].iter().for_each(|op| run.op(op));
    }
}

impl Run<'_> {
    fn dim(&self, dim: u32) -> u32 {
        match dim >> 31 {
            0 => dim,
            _ => self.regs[(dim & 0x7fff_ffff) as usize],
        }
    }

    fn buffer(&mut self, operand: u32) -> Option<(usize, &mut Vec<u8>)> {
        let (_, cols, _, bytes) = self.buffers.get_mut((operand & 0x0fff_ffff) as usize)?;
        (operand >> 28 == 3).then_some((4 * *cols as usize, bytes))
    }

    fn read(&mut self, operand: u32, row: u32) -> Vec<u32> {
        let Some((width, bytes)) = self.buffer(operand) else {
            return self.values[&operand].clone();
        };
        let row = bytes[row as usize * width..][..width].chunks_exact(4);
        row.map(|b| u32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    fn floats(&mut self, operand: u32) -> Vec<f32> {
        self.read(operand, 0)
            .into_iter()
            .map(f32::from_bits)
            .collect()
    }

    fn write(&mut self, operand: u32, row: u32, words: impl Iterator<Item = u32>) {
        match self.buffer(operand) {
            Some((width, bytes)) => {
                let to = bytes[row as usize * width..][..width].chunks_exact_mut(4);
                to.zip(words)
                    .for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
            }
            None => drop(self.values.insert(operand, words.collect())),
        }
    }

    fn op(&mut self, op: &[u32]) {
        let (dst, src, params) = (op[1], &op[2..12], &op[12..]);
        let [first, second, count] = [0, 1, 2].map(|i| self.dim(params[i]));
        if op[0] == CPY {
            assert_eq!(count, 1, "one row of logits");
            let row = self.read(src[0], first);
            return self.write(dst, second, row.into_iter());
        }
        let mut x = self.floats(src[0]);
        match op[0] {
            16 => return self.write(dst, 0, best(&x).into_iter()),
            17 => {
                let ids = best(&x).into_iter().take(first as usize);
                let values: Vec<u32> = ids.clone().map(|id| x[id as usize].to_bits()).collect();
                self.write(src[1], 0, values.into_iter());
                return self.write(dst, 0, ids);
            }
            18 => {
                for i in 0..first {
                    let id = self.read(src[1], i)[0] as usize;
                    x[id] += f32::from_bits(self.read(src[2], i)[0]);
                }
            }
            19 => {
                let factors = self.floats(src[3]);
                for i in 0..first {
                    let x = &mut x[self.read(src[1], i)[0] as usize];
                    let count = self.read(src[2], i)[0] as f32;
                    *x = if *x > 0.0 {
                        *x / factors[0]
                    } else {
                        *x * factors[0]
                    };
                    *x -= count * factors[1] + factors[2];
                }
            }
            20 => {
                let bits = self.read(src[1], 0);
                for (i, x) in x.iter_mut().enumerate() {
                    if bits[i >> 5] >> (i & 31) & 1 == 0 {
                        *x = f32::NEG_INFINITY;
                    }
                }
            }
            21 => {
                let scale = f64::from(f32::from_bits(params[0]));
                let sum: f64 = x.iter().map(|x| (f64::from(*x) * scale).exp()).sum();
                x = [sum.ln() as f32].into();
            }
            code => panic!("operation {code} samples nothing"),
        }
        self.write(dst, 0, x.into_iter().map(f32::to_bits));
    }
}

/// All ids, the best first, and of equal ones the lower.
fn best(x: &[f32]) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..x.len() as u32).collect();
    ids.sort_by(|a, b| x[*b as usize].total_cmp(&x[*a as usize]));
    ids
}
