;; Has a name that would change the colour of an operator's terminal.
(data (i32.const 0x1000) "\1b[31mwardset")
(func (export "manifest") (result i32)
  (i32.store (i32.const 0x4000) (i32.const 0x1000))
  (i32.store (i32.const 0x4004) (i32.const 12))
  (i32.const 0x4000))
