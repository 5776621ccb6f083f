//! Why code that can grow its memory runs in small slices.
//!
//! The interpreter goes from one instruction to the next by a tail call, which leaves nothing on the native stack. For
//! `memory.grow` and `table.grow` compilers do not make one (wasmi 2.0: they call back into the store with addresses of
//! locals), so each leaves a frame of about 200 bytes until the interpreter is left; a loop of some ten thousand would
//! overflow the stack of the host, which nothing catches. Running out of fuel leaves the interpreter. So what grows its
//! memory gets fuel for a few hundred instructions at a time, and may have few places that do, since fuel is taken for a
//! stretch of code as a whole. Together that is at most [`STACK_BYTES`] of native stack.
//!
//! `table.grow` cannot be treated so: when it runs out of fuel, wasmi 2.0 resumes at an earlier instruction. Guests may not
//! have it, and modules of the application's own only if it says that it trusts them; they are not sliced.
//!
//! What is built to dispatch by a loop (`portable-dispatch`, firmware) has no such frames.

use crate::bail;
use crate::error::Result;

/// Fuel of a slice: an instruction costs one, and a loop needs another to come round.
pub const SLICE_FUEL: u64 = 512;
/// Places with such an instruction in a module.
const MAX_PLACES: usize = 256;
/// What a frame takes, rounded up from 188 on x86-64.
const FRAME_BYTES: usize = 256;
/// Native stack that growing may take at most.
pub const STACK_BYTES: usize = (SLICE_FUEL as usize + MAX_PLACES) * FRAME_BYTES;
const _: () = assert!(STACK_BYTES <= 192 << 10);

/// Nothing is left on the native stack in this build.
pub const DISPATCHES_BY_A_LOOP: bool = cfg!(any(
    feature = "portable-dispatch",
    target_os = "none",
    target_arch = "riscv32",
    target_arch = "riscv64"
));

/// Where a module grows something, and what else has to be known of it.
#[derive(Default)]
pub struct Growth {
    /// Places with `memory.grow`.
    pub memory: usize,
    /// Whether there is a `table.grow`.
    pub table: bool,
    /// Values that calls, blocks and branches move, each of which translation notes (`survey`).
    pub values: usize,
    /// Functions, those that are imported included.
    #[cfg(feature = "validate")]
    pub functions: u32,
    /// Whether it imports a table or memory.
    pub shares: bool,
}

impl Growth {
    /// The fuel that the module may be given at once.
    ///
    /// # Errors
    /// `Limit` if it has too many places that grow its memory.
    pub fn slice_fuel(&self) -> Result<u64> {
        if DISPATCHES_BY_A_LOOP || self.table || self.memory == 0 {
            return Ok(u64::MAX);
        }
        if self.memory > MAX_PLACES {
            bail!(
                Limit,
                "the module grows its memory in {} places of its code; {MAX_PLACES} are possible",
                self.memory
            );
        }
        Ok(SLICE_FUEL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;
    use crate::wasm::{Instance, LoadedModule, ModuleOptions, Options, group::Limits};
    use alloc::format;
    use alloc::string::String;
    use std::thread;

    /// What is done over and over; `$i` counts down, and `$n` is 0.
    const BODIES: [(&str, &str); 32] = [
        (
            "memory.grow by nothing",
            "(drop (memory.grow (local.get $n)))",
        ),
        (
            "memory.grow beyond all",
            "(drop (memory.grow (i32.const -1)))",
        ),
        (
            "memory.grow over the limit",
            "(drop (memory.grow (i32.const 1)))",
        ),
        ("memory.size", "(drop (memory.size))"),
        (
            "memory.copy",
            "(memory.copy (i32.const 8) (local.get $n) (i32.const 3))",
        ),
        (
            "memory.fill",
            "(memory.fill (i32.const 8) (local.get $n) (i32.const 3))",
        ),
        (
            "memory.init",
            "(memory.init $d (i32.const 8) (local.get $n) (i32.const 1))",
        ),
        (
            "table.copy",
            "(table.copy $t $t (i32.const 1) (local.get $n) (i32.const 1))",
        ),
        (
            "table.fill",
            "(table.fill $t (local.get $n) (ref.func $leaf) (i32.const 1))",
        ),
        (
            "table.init",
            "(table.init $t $e (local.get $n) (i32.const 0) (i32.const 1))",
        ),
        (
            "table.get and set",
            "(table.set $t (i32.const 1) (table.get $t (local.get $n)))",
        ),
        ("table.size", "(drop (table.size $t))"),
        (
            "elem.drop, data.drop",
            "(elem.drop $unused) (data.drop $dropped)",
        ),
        ("call", "(drop (call $leaf (local.get $n)))"),
        ("call of an import", "(call $host)"),
        (
            "call_indirect",
            "(drop (call_indirect $t (type $unary) (local.get $n) (local.get $n)))",
        ),
        ("return_call", "(drop (call $tail (local.get $n)))"),
        (
            "return_call_indirect",
            "(drop (call $tail_indirect (local.get $n)))",
        ),
        ("return_call of an import", "(call $tail_host)"),
        (
            "br_table",
            "(block $a (block $b (br_table $a $b $a (local.get $i))))",
        ),
        (
            "br_table with a value",
            "(drop (block $a (result i32) (block $b (result i32) (br_table $a $b (local.get $i) (local.get $n)))))",
        ),
        (
            "br_table with values",
            "(block $a (result i32 i64 f32) (br_table $a $a (local.get $i) (i64.const 1) (f32.const 2) (local.get $n))) (drop) (drop) (drop)",
        ),
        ("several results", "(call $three) (drop) (drop) (drop)"),
        (
            "globals",
            "(global.set $g (i64.add (global.get $g) (i64.const 1)))",
        ),
        (
            "loads and stores",
            "(i64.store16 (i32.const 4) (i64.load8_s (local.get $n)))",
        ),
        (
            "division",
            "(drop (i32.div_s (i32.const 7) (local.get $i)))",
        ),
        (
            "i64.rem",
            "(drop (i64.rem_u (global.get $g) (i64.const 7)))",
        ),
        (
            "float to integer",
            "(drop (i32.trunc_f64_s (f64.convert_i32_s (local.get $n))))",
        ),
        (
            "saturating",
            "(drop (i64.trunc_sat_f32_u (f32.convert_i32_u (local.get $i))))",
        ),
        (
            "float functions",
            "(drop (f64.nearest (f64.sqrt (f64.copysign (f64.const 2) (f64.convert_i32_u (local.get $i))))))",
        ),
        (
            "select",
            "(drop (select (result funcref) (ref.func $leaf) (ref.null func) (local.get $i)))",
        ),
        (
            "bits",
            "(drop (i64.rotl (i64.popcnt (global.get $g)) (i64.extend32_s (global.get $g))))",
        ),
    ];

    fn module(body: &str, start: &str) -> alloc::vec::Vec<u8> {
        let text = format!(
            "(module
               (type $unary (func (param i32) (result i32)))
               (import \"\" \"host\" (func $host))
               (memory (export \"memory\") 1 4)
               (table $t 4 100 funcref)
               (global $g (mut i64) (i64.const 9))
               (data $d \"x\") (data $dropped \"y\")
               (elem $e func $leaf) (elem $unused func $leaf)
               (elem (table $t) (i32.const 0) func $leaf $leaf)
               (func $leaf (type $unary) (local.get 0))
               (func $tail (type $unary) (return_call $leaf (local.get 0)))
               (func $tail_indirect (type $unary) (return_call_indirect $t (type $unary) (local.get 0) (local.get 0)))
               (func $tail_host (return_call $host))
               (func $three (result i32 i64 f32) (i32.const 1) (i64.const 2) (f32.const 3))
               (func $run (export \"run\") (local $i i32) (local $n i32)
                 (local.set $i (i32.const 100000))
                 (loop $again
                   {body}
                   (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1))))))
               {start})"
        );
        wat::parse_str(&text).unwrap()
    }

    fn instantiate(wasm: &[u8], fuel: u64) -> Result<Instance> {
        let module = LoadedModule::load(wasm, &ModuleOptions::default())?;
        let host = crate::wasm::Import {
            module: "",
            name: "host",
            ty: wasmi::FuncType::new([], []),
            function: alloc::sync::Arc::new(|_, _, _| Ok(())),
        };
        Instance::new(
            &module,
            &Options {
                imports: &[host],
                peers: &[],
                limits: Limits {
                    fuel,
                    memory_bytes: 65536 * 2,
                    table_elements: 50,
                },
            },
        )
    }

    /// On a stack that a frame for each round would overflow ten times over.
    fn on_a_small_stack(body: impl FnOnce() + Send + 'static) {
        let thread = thread::Builder::new().stack_size(STACK_BYTES + (256 << 10));
        thread.spawn(body).unwrap().join().unwrap();
    }

    #[test]
    fn no_instruction_fills_the_stack() {
        on_a_small_stack(|| {
            for (what, body) in BODIES {
                let instance = instantiate(&module(body, ""), 0).unwrap();
                let run = instance.callable(instance.find("run").unwrap()).unwrap();
                run.call(&[], &mut [])
                    .unwrap_or_else(|e| panic!("{what}: {e}"));
            }
        });
    }

    #[test]
    fn nor_do_they_in_a_start_function() {
        on_a_small_stack(|| {
            let instance = instantiate(&module(BODIES[0].1, "(start $run)"), 0).unwrap();
            assert!(instance.find("run").is_ok());
            let e = instantiate(&module(BODIES[0].1, "(start $run)"), 1000)
                .err()
                .unwrap();
            assert_eq!(e.status(), Status::Limit, "{e}");
            // Code without a loop: taken as a whole, so its length is limited.
            let straight = |n: usize| {
                let body: String = (0..n)
                    .map(|_| "(drop (memory.grow (i32.const 0)))")
                    .collect();
                module(&body, "")
            };
            let instance = instantiate(&straight(MAX_PLACES), 0).unwrap();
            let run = instance.callable(instance.find("run").unwrap()).unwrap();
            run.call(&[], &mut []).unwrap();
            let e = instantiate(&straight(MAX_PLACES + 1), 0).err().unwrap();
            assert_eq!(e.status(), Status::Limit, "{e}");
        });
    }

    /// Slices take nothing from what grows: every page is there once, with what was written into it.
    #[test]
    fn memory_grows_to_its_limit_across_slices() {
        let text = "(module (memory (export \"memory\") 0)
            (func (export \"run\") (result i32) (local $at i32) (local $pause i32)
              (loop $again
                (local.set $pause (i32.const 300))
                (loop $wait (br_if $wait (local.tee $pause (i32.sub (local.get $pause) (i32.const 1)))))
                (if (i32.ge_s (local.tee $at (memory.grow (i32.const 1))) (i32.const 0))
                  (then
                    (i32.store (i32.mul (local.get $at) (i32.const 65536)) (local.get $at))
                    (br $again))))
              (memory.size)))";
        let module = LoadedModule::load(&wat::parse_str(text).unwrap(), &ModuleOptions::default());
        let options = Options {
            imports: &[],
            peers: &[],
            limits: Limits {
                memory_bytes: 100 * 65536,
                ..Limits::default()
            },
        };
        let instance = Instance::new(&module.unwrap(), &options).unwrap();
        let run = instance.callable(instance.find("run").unwrap()).unwrap();
        let mut results = [wasmi::Val::I32(0)];
        run.call(&[], &mut results).unwrap();
        assert!(matches!(results, [wasmi::Val::I32(100)]), "{results:?}");
        for page in 0..100_u32 {
            let check = |bytes: &mut [u8]| assert_eq!(bytes, page.to_le_bytes());
            instance
                .with_memory(u64::from(page) * 65536, 4, check)
                .unwrap();
        }
    }

    /// Fuel is counted as if there were no slices: to the last unit, and given back.
    #[test]
    fn slices_change_no_count() {
        let wasm = module(BODIES[0].1, "");
        let instance = instantiate(&wasm, 0).unwrap();
        let before = instance.fuel().unwrap();
        let run = instance.callable(instance.find("run").unwrap()).unwrap();
        run.call(&[], &mut []).unwrap();
        let cost = before - instance.fuel().unwrap();
        assert!(cost > 300_000, "{cost}");
        for (fuel, ends) in [(cost, true), (cost - 1, false)] {
            let instance = instantiate(&wasm, fuel).unwrap();
            let run = instance.callable(instance.find("run").unwrap()).unwrap();
            let result = run.call(&[], &mut []);
            assert_eq!(result.is_ok(), ends, "{fuel}");
            if let Err(e) = result {
                assert_eq!(e.status(), Status::Limit, "{e}");
                instance.add_fuel(cost).unwrap();
                run.call(&[], &mut []).unwrap();
            }
        }
    }

    #[test]
    fn start_functions_that_are_none_are_refused() {
        let odd =
            wat::parse_str("(module (func $f (param i32)) (export \"f\" (func $f)))").unwrap();
        let mut wasm = odd[..odd.len()].to_vec();
        // The start section goes before the code, which is the last.
        let code = wasm.iter().rposition(|&b| b == 10).unwrap();
        wasm.splice(code..code, [8, 1, 0]);
        let e = LoadedModule::load(&wasm, &ModuleOptions::default())
            .err()
            .unwrap();
        assert_eq!(e.status(), Status::Format, "{e}");
    }
}
