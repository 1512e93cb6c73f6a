;; Logs twenty messages of nearly a MiB with line breaks that would forge log lines.
;;@ memory 20
(data (i32.const 0x1000) "harmless\0aERROR wardset: forged\0d\1b[31m")
(func $hostile (result i32)
  (local $n i32)
  (call $write (i32.const 3) (i32.const 0x1000) (i32.const 36))
  (memory.fill (i32.const 0x10000) (i32.const 0x61) (i32.const 0xff000))
  (loop $next
    (call $write (i32.const 3) (i32.const 0x10000) (i32.const 0xff000))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $n) (i32.const 20))))
  (call $changed))
