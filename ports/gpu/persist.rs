//! Launches that one kernel interprets (`kernels/program.h`): their kernels by number.

use super::abi::Call;
use super::device::{Device, Launch, Memory, Result};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Kernels that are for everything, then those that there are for each type of weights: in the order of their numbers.
const CALLS: &str = "add mul div scale softcap unary glu swiglu_oai mask cpy view_cols concat gather \
    weighted_sum ssm_conv rope rms_norm norm sum_rows soft_max logsumexp argmax top_k \
    logit_bias penalties ssm_scan quantize_32 quantize_256 append_f32 append_f16 append_q8_0 \
    attend_merge rms_norm_quantize_32 rms_norm_quantize_256 glu_quantize_32 glu_quantize_256 \
    rope_append_f32 rope_append_f16 attend_part_f32 attend_part_f16 attend_part_q8_0";
const TYPES: &str =
    "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 iq4_nl mxfp4 q2_K q3_K q4_K q5_K q6_K iq4_xs";
const OF_TYPES: [&str; 3] = ["get_rows", "mul_mat_vec", "mul_mat_id"];

/// All names, in the order of their numbers.
pub fn names() -> impl Iterator<Item = String> {
    let types = TYPES.split(' ');
    let typed = types.flat_map(|ty| OF_TYPES.map(|n| format!("realm_{n}_{ty}")));
    CALLS.split(' ').map(|n| format!("realm_{n}")).chain(typed)
}

/// The number of a kernel; none: it is not interpreted.
pub fn number(name: &str) -> Option<u32> {
    names().position(|n| n == name).map(|n| n as u32)
}

/// Launches on the device, to be interpreted.
pub struct Calls {
    list: Memory,
    count: u32,
}

impl Calls {
    /// None: the device cannot, or a launch is of a kernel that is not interpreted. `number` has a kernel's.
    pub fn new(
        device: &Arc<dyn Device>,
        launches: &[Launch],
        number: impl Fn(u64) -> Option<u32>,
    ) -> Result<Option<Self>> {
        if !device.interprets() {
            return Ok(None);
        }
        let call = |l: &Launch| {
            Some(Call {
                kernel: number(l.kernel)?,
                op: l.op,
            })
        };
        let Some(calls) = launches.iter().map(call).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let bytes = bytemuck::cast_slice(&calls);
        let list = Memory::new(device, bytes.len() as u64)?;
        device.write(list.address, bytes)?;
        let count = calls.len() as u32;
        Ok(Some(Self { list, count }))
    }

    /// Enqueues them, over operations and so many steps.
    pub fn enqueue(&self, device: &dyn Device, ops: u64, step: u64, steps: u32) -> Result<()> {
        device.interpret(self.list.address, self.count, ops, step, steps)
    }
}
