;; Adds a value of 100,000 nested arrays.
;;@ writes /metadata/labels
;;@ memory 8
(data (i32.const 0x1000) "/metadata/labels/x")
(func $hostile (result i32)
  (memory.fill (i32.const 0x10000) (i32.const 0x5b) (i32.const 100000))
  (memory.fill (i32.const 165536) (i32.const 0x5d) (i32.const 100000))
  (call $add (i32.const 0x1000) (i32.const 0x10000))
  (call $changed))
