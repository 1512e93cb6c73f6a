;; Copies 15 MiB of memory onto itself again and again.
;;@ memory 250
(func $hostile (result i32)
  (loop $for-ever
    (memory.copy (i32.const 0x10001) (i32.const 0x10000) (i32.const 0xf00000))
    (br $for-ever))
  (unreachable))
