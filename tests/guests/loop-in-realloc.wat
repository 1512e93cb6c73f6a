;; Loops forever in the second `realloc` of a call: validation of settings needs one, a review needs two.
;;@ base
(global $calls (mut i32) (i32.const 0))
(func (export "realloc") (param i32 i32 i32 i32) (result i32)
  (if (global.get $calls) (then (loop $for-ever (br $for-ever))))
  (global.set $calls (i32.const 1))
  (i32.const 0x8000))
