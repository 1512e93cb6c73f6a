;; Logs a thousand lines.
(data (i32.const 0x1000) "a line of the storm")
(func $hostile (result i32)
  (local $n i32)
  (loop $next
    (call $write (i32.const 3) (i32.const 0x1000) (i32.const 19))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $n) (i32.const 1000))))
  (call $changed))
