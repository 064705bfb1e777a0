// Package consumer is a consumer of a stream as a state machine: it does no
// I/O, has no clock and starts no goroutine, so that the same inputs give the
// same outputs.
//
// # Contract
//
// A [Machine] belongs to one caller at a time. Its inputs are methods:
//
//   - stream events: [Machine.Stored], [Machine.Removed], [Machine.Purged],
//     [Machine.SetPending];
//   - clients: [Machine.Ack], [Machine.Pull], [Machine.FlowAnswer],
//     [Machine.SetActive], and the API calls [Machine.Update], [Machine.Pause],
//     [Machine.Reset], [Machine.Unpin];
//   - time: [Machine.Tick], due at [Machine.NextDeadline].
//
// After each input, or a batch of them, the caller makes a turn:
//
//  1. [Machine.Next] says which messages to load. None: go to 4.
//  2. Load them and offer each one with [Machine.Offer] in the order asked for;
//     report those that do not exist with [Machine.Missing], and that there are
//     no more with [Machine.Exhausted]. For verdict [Send] publish the message
//     and call [Machine.Sent], or [Machine.Unsent] if nobody was there to take
//     it. For verdict [Stop] leave the rest and go on at 1.
//  3. Go on at 1.
//  4. Take [Machine.Effects] and execute them in order (also after each Sent,
//     so that statuses follow the messages before them), make [Machine.Steps]
//     durable as one run, and wake up again at [Machine.NextDeadline].
//
// A [Confirm] waits until the steps of its turn are durable.
//
// All times are Unix nanoseconds; 0 is "never".
package consumer
