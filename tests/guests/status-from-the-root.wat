;; Changes the status; its `writes` name the whole document.
;;@ writes ""
(data (i32.const 0x1000) "/status/currentNumberScheduled")
(data (i32.const 0x1100) "0")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
