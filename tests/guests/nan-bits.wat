;; Computes NaNs in several ways, and warns if their bits differ from the canonical NaN.
(data (i32.const 0x1000) "fresh")
(func $hostile (result i32)
  (local $zero f64)
  (if (i64.ne
        (i64.reinterpret_f64 (f64.sqrt (f64.sub (local.get $zero) (f64.const 1))))
        (i64.const 0x7ff8000000000000))
    (then (return (call $warned (i32.const 0x1000) (i32.const 5)))))
  (if (i64.ne
        (i64.reinterpret_f64 (f64.div (local.get $zero) (local.get $zero)))
        (i64.const 0x7ff8000000000000))
    (then (return (call $warned (i32.const 0x1000) (i32.const 5)))))
  (call $changed))
