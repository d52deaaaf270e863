// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's first serial port, a 16550A at 0x3f8.

use std::io::Write;

use anyhow::{anyhow, Result};
use serde::{Deserialize, Serialize};
use vm_superio::serial::NoEvents;
use vm_superio::Serial;

use crate::bus::Interrupt;

/// Where the guest's output goes.
pub type Output = Box<dyn Write + Send>;

/// The port.
pub struct SerialPort(Serial<Interrupt, NoEvents, Output>);

/// Its registers, and input that the guest has not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialState {
    registers: [u8; 9],
    input: Vec<u8>,
}

impl SerialPort {
    /// The port of a guest that starts.
    pub fn new(interrupt: Interrupt, output: Output) -> Self {
        Self(Serial::new(interrupt, output))
    }

    /// The port of a guest that goes on.
    pub fn restore(state: &SerialState, interrupt: Interrupt, output: Output) -> Result<Self> {
        let [baud_divisor_low, baud_divisor_high, interrupt_enable, interrupt_identification, line_control, line_status, modem_control, modem_status, scratch] =
            state.registers;
        let state = vm_superio::SerialState {
            baud_divisor_low,
            baud_divisor_high,
            interrupt_enable,
            interrupt_identification,
            line_control,
            line_status,
            modem_control,
            modem_status,
            scratch,
            in_buffer: state.input.clone(),
        };
        Serial::from_state(&state, interrupt, NoEvents, output)
            .map(Self)
            .map_err(|error| anyhow!("cannot restore the serial port: {error:?}"))
    }

    /// Reads its state.
    pub fn save(&self) -> SerialState {
        let state = self.0.state();
        SerialState {
            registers: [
                state.baud_divisor_low,
                state.baud_divisor_high,
                state.interrupt_enable,
                state.interrupt_identification,
                state.line_control,
                state.line_status,
                state.modem_control,
                state.modem_status,
                state.scratch,
            ],
            input: state.in_buffer,
        }
    }

    /// A register is read.
    pub fn read(&mut self, offset: u8) -> u8 {
        self.0.read(offset)
    }

    /// A register is written. If the output cannot be written, it is lost: a guest must not
    /// stop because its log is full.
    pub fn write(&mut self, offset: u8, value: u8) {
        if let Err(error) = self.0.write(offset, value) {
            tracing::debug!("serial port: {error:?}");
        }
    }
}
