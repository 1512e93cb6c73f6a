;; Answers, then loops forever in `post-return`.
(global $asked (mut i32) (i32.const 0))
(func $hostile (result i32) (global.set $asked (i32.const 1)) (call $changed))
(func (export "post-evaluate") (param i32)
  (if (global.get $asked) (then (loop $for-ever (br $for-ever)))))
