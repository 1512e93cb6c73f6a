;; Grows two memories by ten MiB each; each alone is within the limit.
(memory $second 1)
(func $hostile (result i32)
  (drop (memory.grow 0 (i32.const 160)))
  (drop (memory.grow $second (i32.const 160)))
  (call $changed))
