;; Fills eight MiB of memory again and again: few instructions, much work.
;;@ memory 160
(func $hostile (result i32)
  (loop $for-ever
    (memory.fill (i32.const 0x10000) (i32.const 0xaa) (i32.const 0x800000))
    (br $for-ever))
  (unreachable))
