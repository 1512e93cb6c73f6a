;; Gives the host room for the first text of a call, and never for the second: the settings are taken, a review isn't.
;;@ base
(global $calls (mut i32) (i32.const 0))
(func (export "realloc") (param i32 i32 i32 i32) (result i32)
  (if (global.get $calls) (then (loop $for-ever (br $for-ever))))
  (global.set $calls (i32.const 1))
  (i32.const 0x8000))
